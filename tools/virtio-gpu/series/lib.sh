# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # variables are used by the scripts that read this file
#
# What the commands of "series" share: patches and overlay -> git commits (assemble) and git commits -> patches and overlay
# (disassemble). Everything here works on git objects and a private index; no work tree is read or written.
#
#   NAME     the upstream: linux, qemu, ...           PATCHES  patches/NAME in the repository
#   PREFIX   where NAME's new files stand in the repository ("" or "tools/virtio-gpu/qemu/")
#   G        the git directory that is worked on      T        scratch directory, removed at exit
#   ZERO     what git apply is told if hunks have no context, or nothing (README.md tells why some have none)

die() {
	printf 'series: %s\n' "$*" >&2
	exit 1
}

note() {
	printf '%s: %s\n' "$NAME" "$*"
}

# The user's configuration must not change what is written (prefixes, context, signatures, renames, line ends), and a
# caller's GIT_DIR must not lead elsewhere. Whoever sends the series is its author, so who that is has to be asked first.
set_environment() {
	SENDER_NAME=${GIT_AUTHOR_NAME:-$(git config user.name || :)}
	SENDER_EMAIL=${GIT_AUTHOR_EMAIL:-$(git config user.email || :)}
	unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR \
		GIT_PREFIX GIT_NAMESPACE GIT_CONFIG GIT_CONFIG_PARAMETERS GIT_CONFIG_COUNT GIT_DIFF_OPTS GIT_EXTERNAL_DIFF \
		GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS GIT_ICASE_PATHSPECS CDPATH
	export LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
	neutral_identity
	T=$(mktemp -d "${TMPDIR:-/tmp}/series.XXXXXX") || exit 1
	trap 'rm -rf "$T"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# The same patches give the same commit ids on every machine and day.
neutral_identity() {
	export GIT_AUTHOR_NAME=series GIT_AUTHOR_EMAIL=series@localhost GIT_AUTHOR_DATE='@1000000000 +0000' \
		GIT_COMMITTER_NAME=series GIT_COMMITTER_EMAIL=series@localhost GIT_COMMITTER_DATE='@1000000000 +0000'
}

set_name() {
	NAME=$1
	case $NAME in
	linux | linux-*) PREFIX= ;;
	qemu | virglrenderer | libdrm) PREFIX=tools/virtio-gpu/$NAME/ ;;
	*) die "unknown series '$NAME' (linux, qemu, ...)" ;;
	esac
	PATCHES=$REPO/patches/$NAME
	ZERO=
	[ "$NAME" != virglrenderer ] || ZERO=--unidiff-zero
}

# absolute PATH: also of a file that is not there yet
absolute() {
	case $1 in
	/*) printf '%s\n' "$1" ;;
	*) printf '%s/%s\n' "$START" "$1" ;;
	esac
}

g() {
	git --git-dir="$G" "$@"
}

# new_git DIR: a repository that follows no template and no ignore rule by surprise
new_git() {
	git init -q --bare --template= "$1" || exit 1
	git --git-dir="$1" symbolic-ref HEAD refs/heads/series
	git --git-dir="$1" config core.quotePath false
	git --git-dir="$1" config core.autocrlf false
}

# scratch_git OBJECTS...: G becomes an empty repository that sees the given object directories
scratch_git() {
	G=$T/git
	new_git "$G"
	# ls-files insists on a work tree
	mkdir "$T/empty"
	g config core.bare false
	g config core.worktree "$T/empty"
	mkdir -p "$G/objects/info"
	for objects; do
		printf '%s\n' "$objects"
	done >"$G/objects/info/alternates"
}

# source_tree DIR: pristine files are taken from DIR. Where DIR is a tree that "apply" has patched, the files it tracks
# come from its baseline commit. P_DIR and P_BASE are what assemble() looks at.
source_tree() {
	P_DIR=$(cd "$(absolute "$1")" 2>/dev/null && pwd -P) || die "$1 is not a directory"
	P_BASE=
	if [ -d "$P_DIR/.series" ]; then
		P_BASE=$(git --git-dir="$P_DIR/.series" rev-parse -q --verify refs/series/base) ||
			die "$P_DIR/.series is incomplete; remove $P_DIR and apply again"
	fi
}

# pristine PATH: prints "MODE BLOB" of the upstream file, with the blob in G; fails if there is no such file
pristine() {
	if [ -n "$P_BASE" ]; then
		entry=$(g ls-tree "$P_BASE" -- "$1")
		if [ -n "$entry" ]; then
			printf '%s\n' "$entry" | awk '{ print $1, $3 }'
			return 0
		fi
	fi
	[ -n "$P_DIR" ] && [ -f "$P_DIR/$1" ] && [ ! -L "$P_DIR/$1" ] || return 1
	hash_file "$P_DIR/$1"
}

# hash_file FILE: prints "MODE BLOB" and puts the blob into G
hash_file() {
	mode=100644
	[ ! -x "$1" ] || mode=100755
	blob=$(g hash-object -w --no-filters -- "$1") || exit 1
	printf '%s %s\n' "$mode" "$blob"
}

# split_patch FILE DIR: DIR/msg, DIR/adds (repository paths), DIR/diff
split_patch() {
	mkdir -p "$2"
	: >"$2/msg.raw" && : >"$2/adds" && : >"$2/diff"
	awk -v dir="$2" '
	function subject_done() {
		sub(/^(\[[^]]*\][ \t]*)+/, "", subject)
		print subject "\n" >(dir "/msg.raw")
	}
	BEGIN { state = "head" }
	state == "head" && /^Subject:/ { subject = $0; sub(/^Subject:[ \t]*/, "", subject); folded = 1; next }
	state == "head" && /^[ \t]/ && folded { line = $0; sub(/^[ \t]+/, " ", line); subject = subject line; next }
	state == "head" && $0 == "" { subject_done(); state = "body"; next }
	state == "head" { folded = 0; next }
	state == "body" && $0 == "---" { state = "diff"; next }
	state == "body" && /^diff --git / { state = "diff" }
	state == "body" && /^Adds:/ { for (i = 2; i <= NF; i++) print $i >(dir "/adds"); next }
	state == "body" { print >(dir "/msg.raw"); next }
	{ print >(dir "/diff") }
	END { if (state == "head") subject_done() }' "$1"
	git stripspace <"$2/msg.raw" >"$2/msg"
	rm "$2/msg.raw"
	[ -s "$2/msg" ] || die "$1 has no subject (the first lines of a patch are its mail headers)"
}

# overlay_files DIR: the files below repository directory DIR, as paths in the repository rooted at $OVERLAY
overlay_files() {
	if [ "$OVERLAY" = "$REPO" ] && [ -e "$REPO/.git" ]; then
		# GIT_DIR by name, so that git does not mind who owns the checkout
		(cd "$REPO" && GIT_DIR=$REPO/.git GIT_WORK_TREE=$REPO git -c core.quotePath=false \
			ls-files -co --exclude-standard -- "$1" | while IFS= read -r f; do
			[ ! -f "$f" ] || printf '%s\n' "$f"
		done)
	else
		(cd "$OVERLAY" && find "$1" -type f)
	fi | sort -u
}

# read_series PATCHDIR: fills $T/p/1 .. $T/p/$COUNT with the split patches; $T/new gets "INDEX PATH" of every new file,
# $T/touched "INDEX PATH" of every file with hunks (paths as upstream has them).
read_series() {
	rm -rf "$T/p" "$T/new" "$T/touched"
	mkdir "$T/p"
	: >"$T/new" && : >"$T/touched" && : >"$T/explicit" && : >"$T/adds_dirs"
	COUNT=0
	for patch in "$1"/[0-9]*.patch; do
		[ -e "$patch" ] || continue
		COUNT=$((COUNT + 1))
		p=$T/p/$COUNT
		split_patch "$patch" "$p"
		basename "$patch" >"$p/name"
		while IFS= read -r path; do
			case $path in
			"$PREFIX"?*) ;;
			*) die "$patch: 'Adds: $path' is not below $PREFIX" ;;
			esac
			if [ -d "$OVERLAY/$path" ]; then
				printf '%s %s\n' "$COUNT" "${path%/}" >>"$T/adds_dirs"
			elif [ -f "$OVERLAY/$path" ]; then
				printf '%s %s\n' "$COUNT" "${path#"$PREFIX"}" >>"$T/explicit"
			else
				die "$patch adds $path, which is not in the repository"
			fi
		done <"$p/adds"
		[ -s "$p/diff" ] || [ -s "$p/adds" ] || die "$patch is empty: neither hunks nor Adds"
		if [ -s "$p/diff" ]; then
			g apply --summary "$p/diff" >"$T/summary" 2>"$T/err" ||
				die "$patch is not a valid patch: $(head -n 1 "$T/err")"
			if grep -Eq '^ (create|rename|copy) ' "$T/summary"; then
				die "$patch:$(sed -n '/^ \(create\|rename\|copy\) /{p;q;}' "$T/summary"): new files stand in the repository and are named by Adds"
			fi
			g apply --numstat "$p/diff" | cut -f 3 | sed "s/^/$COUNT /" >>"$T/touched"
		fi
	done
	cp "$T/explicit" "$T/new"
	# a file that is named itself joins there, not with its directory
	while read -r index path; do
		overlay_files "$path" | while IFS= read -r f; do
			cut -d ' ' -f 2- "$T/explicit" | grep -Fqx -e "${f#"$PREFIX"}" || printf '%s %s\n' "$index" "${f#"$PREFIX"}"
		done >>"$T/new"
	done <"$T/adds_dirs"
	cut -d ' ' -f 2- "$T/new" | sort | uniq -d >"$T/twice"
	[ ! -s "$T/twice" ] || die "$1: $(head -n 1 "$T/twice") is added by two patches"
}

# assemble PATCHDIR OVERLAY: commits in G: BASE (the pristine versions of all files the series touches), then one per
# patch, ids in $T/commits; HEAD_NEW is the last.
assemble() {
	patchdir=$1
	OVERLAY=$2
	read_series "$1"
	export GIT_INDEX_FILE="$T/index"

	# New files stand in the repository at their final version: take the later patches' hunks off, from last to first, to
	# see what each was when it joined.
	rm -f "$T/index"
	cut -d ' ' -f 2- "$T/new" >"$T/new_paths"
	while read -r index path; do
		if [ -n "$P_DIR" ] && [ -z "$P_BASE" ] && [ -e "$P_DIR/$path" ]; then
			die "$patchdir/$(cat "$T/p/$index/name") adds $path, which is an upstream file"
		fi
		entry=$(hash_file "$OVERLAY/$PREFIX$path") || exit 1
		printf '%s\t%s\n' "$entry" "$path"
	done <"$T/new" >"$T/overlay"
	g update-index --index-info <"$T/overlay"
	i=$COUNT
	while [ "$i" -gt 0 ]; do
		p=$T/p/$i
		: >"$p/addblobs"
		sed -n "s/^$i //p" "$T/new" >"$T/adding"
		while IFS= read -r path; do
			g ls-files -s -- "$path" >>"$p/addblobs"
			g update-index --force-remove -- "$path"
		done <"$T/adding"
		sed -n "s/^$i //p" "$T/touched" >"$T/hunks"
		set --
		while IFS= read -r path; do
			if grep -Fqx -e "$path" "$T/adding"; then
				die "$patchdir/$(cat "$p/name") both adds and changes $path; the repository's file is the final version"
			fi
			grep -Fqx -e "$path" "$T/new_paths" || continue
			[ -n "$(g ls-files -- "$path")" ] || die "$patchdir/$(cat "$p/name") changes $path, which a later patch adds"
			set -- "$@" "--include=$path"
		done <"$T/hunks"
		if [ $# -gt 0 ]; then
			g apply --cached -R --whitespace=nowarn ${ZERO:+"$ZERO"} "$@" "$p/diff" 2>"$T/err" ||
				die "$patchdir/$(cat "$p/name") no longer fits the repository's version of a new file it changes ($(reason "$T/err")); if you edited that file, refresh naming this patch"
		fi
		i=$((i - 1))
	done

	rm -f "$T/index"
	while read -r index path; do
		! grep -Fqx -e "$path" "$T/new_paths" || continue
		entry=$(pristine "$path") ||
			die "$patchdir/$(cat "$T/p/$index/name") changes $path, which ${P_DIR:-the base commit} does not have"
		# lines without context would go anywhere in another version
		[ -z "$ZERO" ] || grep -Fqx -e "${entry#* } $path" "$patchdir/upstream" ||
			die "${P_DIR:+$P_DIR/}$path is not the version that $patchdir is for"
		printf '%s\t%s\n' "$entry" "$path"
	done <"$T/touched" >"$T/base_entries"
	g update-index --index-info <"$T/base_entries"
	tree=$(g write-tree) || exit 1
	BASE=$(echo "$NAME: the upstream files that the series touches" | g commit-tree "$tree") || exit 1

	: >"$T/commits"
	HEAD_NEW=$BASE
	i=1
	while [ "$i" -le "$COUNT" ]; do
		p=$T/p/$i
		if [ -s "$p/diff" ]; then
			g apply --cached --whitespace=nowarn ${ZERO:+"$ZERO"} "$p/diff" 2>"$T/err" ||
				die "$patchdir/$(cat "$p/name") does not apply${P_DIR:+ to $P_DIR} ($(reason "$T/err"))"
		fi
		g update-index --index-info <"$p/addblobs"
		tree=$(g write-tree) || exit 1
		HEAD_NEW=$(g commit-tree -p "$HEAD_NEW" "$tree" <"$p/msg") || exit 1
		echo "$HEAD_NEW" >>"$T/commits"
		i=$((i + 1))
	done
	while read -r mode blob path; do
		[ "$(g rev-parse -q --verify "$HEAD_NEW:$path")" = "$blob" ] ||
			die "$patchdir: the patches taken off $path and put on again do not give the repository's version (mode $mode)"
	done <"$T/overlay"
	unset GIT_INDEX_FILE
}

# no_stray_files: after assemble, dies of a file of the repository that looks like the series' own, below $PREFIX or beside its new
# files, and that no patch adds: it would not be sent
no_stray_files() {
	if [ -n "$PREFIX" ]; then
		overlay_files "$PREFIX"
	else
		sed -n 's,/[^/]*$,,p' "$T/new_paths" | sort -u | while IFS= read -r dir; do
			overlay_files "$dir" | grep -x -e "$dir/[^/]*"
		done
	fi | sed "s,^$PREFIX,," | grep -Fvx -f "$T/new_paths" >"$T/left_out" || return 0
	die "$PREFIX$(head -n 1 "$T/left_out") is in no patch: name it in the Adds: of one in $PATCHES"
}

# reason FILE: the first line of git's complaint, without its "error: "
reason() {
	sed -n 's/^error: //p' "$1" | head -n 1
}

# only_insertions DIFF BASE: nothing of upstream's is left in DIFF; the versions of its files in BASE are listed in $T/upstream
only_insertions() {
	sed 's/^\(@@ [^@]* @@\).*/\1/' "$1" >"$1.bare"
	mv "$1.bare" "$1"
	! grep -v '^--- a/' "$1" | grep -q '^-' ||
		die "'$subject' removes or changes lines: patches/$NAME can only insert some"
	sed -n 's,^--- a/,,p' "$1" | while IFS= read -r path; do
		g ls-tree "$2" -- "$path" | awk '{ print $3, $4 }'
	done >>"$T/upstream"
	sort -u -o "$T/upstream" "$T/upstream"
}

# disassemble BASE HEAD PATCHDIR OVERLAY: the commits between become PATCHDIR/NNNN-slug.patch and the new files below
# OVERLAY/$PREFIX. Nothing that changes by itself is written: no author, no date, no blob ids.
disassemble() {
	[ -z "$(g rev-list --merges "$1..$2")" ] || die "the history has merges; a series is a straight line of commits"
	g merge-base --is-ancestor "$1" "$2" || die "the history does not start from the baseline commit"
	mkdir -p "$3" "$4"
	: >"$T/all_adds" && : >"$T/upstream"
	g rev-list --reverse "$1..$2" >"$T/history"
	context=${ZERO:+0}
	context=${context:-3}
	i=0
	parent=$1
	while IFS= read -r commit; do
		i=$((i + 1))
		subject=$(g log -1 --format=%s "$commit")
		case $subject in
		'fixup! '* | 'squash! '* | 'amend! '*) die "'$subject' is still a commit of its own; rebase with --autosquash first" ;;
		esac
		g diff-tree -r --no-renames --no-commit-id "$parent" "$commit" >"$T/raw"
		while read -r _ mode _ _ status path; do
			case $status$mode in
			A100644 | A100755)
				printf '%s %s\n' "$i" "$path" >>"$T/all_adds" ;;
			[AT]*) die "'$subject': $path is neither a plain nor an executable file" ;;
			D*)
				if cut -d ' ' -f 2- "$T/all_adds" | grep -Fqx -e "$path"; then
					die "'$subject' deletes $path, which an earlier commit of the series adds; squash them"
				fi ;;
			esac
		done <"$T/raw"
		g diff-tree -p --no-renames --no-ext-diff --no-textconv --src-prefix=a/ --dst-prefix=b/ -U"$context" --diff-algorithm=default \
			--diff-filter=a --no-commit-id "$parent" "$commit" | sed '/^index [0-9a-f]*\.\.[0-9a-f]*/d' >"$T/diff.$i"
		! grep -q '^Binary files ' "$T/diff.$i" || die "'$subject' changes a binary file"
		[ -z "$ZERO" ] || only_insertions "$T/diff.$i" "$1"
		# the one who sends the series signs it off
		g log -1 --format=%B "$commit" | sed '/^Signed-off-by:/d' | git stripspace >"$T/msg.$i"
		g log -1 --format=%f "$commit" | cut -c 1-52 | sed 's/[-.]*$//' >"$T/slug.$i"
		parent=$commit
	done <"$T/history"

	while read -r _ path; do
		to=$4/$PREFIX$path
		mkdir -p "$(dirname "$to")"
		g cat-file blob "$2:$path" >"$to"
		case $(g ls-tree "$2" -- "$path") in 100755*) chmod +x "$to" ;; esac
	done <"$T/all_adds"

	# A directory that was named by Adds stays named, with the commit that adds most of it, unless the repository has files
	# there that are not in the series.
	: >"$T/adds_out" && : >"$T/in_dirs"
	cat "$PATCHES"/[0-9]*.patch 2>/dev/null | sed -n 's/^Adds://p' | tr -s '[:blank:]' '\n' | sed 's,/$,,;/^$/d' | sort -u |
		while IFS= read -r d; do
			[ ! -d "$REPO/$d" ] || printf '%s\n' "$d"
		done >"$T/dirs"
	while IFS= read -r d; do
		d=${d#"$PREFIX"}
		awk -v d="$d/" 'index($2, d) == 1' "$T/all_adds" >"$T/inside"
		[ -s "$T/inside" ] || continue
		(
			OVERLAY=$REPO
			overlay_files "$PREFIX$d"
		) | while IFS= read -r f; do
			cut -d ' ' -f 2- "$T/inside" | grep -Fqx -e "${f#"$PREFIX"}" || echo x
		done >"$T/foreign"
		[ ! -s "$T/foreign" ] || continue
		most=$(cut -d ' ' -f 1 "$T/inside" | sort -n | uniq -c | sort -k 1,1nr -k 2,2n | awk '{ print $2; exit }')
		echo "$most $d/" >>"$T/adds_out"
		grep "^$most " "$T/inside" >>"$T/in_dirs"
	done <"$T/dirs"
	grep -Fvx -f "$T/in_dirs" "$T/all_adds" >>"$T/adds_out" || :

	[ -z "$ZERO" ] || cp "$T/upstream" "$3/upstream"
	n=$i
	i=1
	while [ "$i" -le "$n" ]; do
		out=$3/$(printf %04d "$i")-$(cat "$T/slug.$i").patch
		sed -n "s,^$i ,$PREFIX,p" "$T/adds_out" | sort -u >"$T/adds_lines"
		{
			printf 'Subject: [PATCH] '
			cat "$T/msg.$i"
			# an empty line ends the headers, if the message has not already done so, and goes before Adds
			[ "$(wc -l <"$T/msg.$i")" -gt 1 ] && [ ! -s "$T/adds_lines" ] || echo
			sed 's/^/Adds: /' "$T/adds_lines"
			echo ---
			cat "$T/diff.$i"
		} >"$out"
		i=$((i + 1))
	done
}

# install_series PATCHDIR OVERLAY: into the repository; files that do not change are not written
install_series() {
	mkdir -p "$PATCHES"
	for old in "$PATCHES"/[0-9]*.patch; do
		[ ! -e "$old" ] || [ -e "$1/${old##*/}" ] || rm "$old"
	done
	for new in "$1"/*.patch "$1/upstream"; do
		[ -e "$new" ] || continue
		cmp -s "$new" "$PATCHES/${new##*/}" || cp "$new" "$PATCHES/${new##*/}"
	done
	(cd "$2" && find . -type f) | while IFS= read -r f; do
		f=${f#./}
		if ! cmp -s "$2/$f" "$REPO/$f"; then
			mkdir -p "$REPO/$(dirname "$f")"
			cp "$2/$f" "$REPO/$f"
		fi
		if [ -x "$2/$f" ]; then chmod +x "$REPO/$f"; else chmod -x "$REPO/$f"; fi
	done
}

# same_history COMMITS: what assemble() made of the written patches must be what it was made from, commit by commit
same_history() {
	paste -d ' ' "$1" "$T/commits" | while read -r theirs ours; do
		[ -n "$ours" ] || die "a commit was lost on the way to the patches"
		g ls-tree -r "$ours" >"$T/ours"
		cut -f 2- "$T/ours" >"$T/paths"
		xargs -d '\n' git --git-dir="$G" ls-tree "$theirs" -- <"$T/paths" | sort >"$T/theirs"
		sort "$T/ours" | cmp -s - "$T/theirs" ||
			die "the patches do not give back commit $(g log -1 --format='%h (%s)' "$theirs")"
	done
}
