# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What the scripts of this directory share. Before it is sourced, $here is this
# directory and BUILD the build directory (default: build/); after it, $build
# is that one's absolute name and $top the repository.

# shellcheck disable=SC2154 # here is set by the script that sources this
top=$(CDPATH='' cd -- "$here/../../.." && pwd) || exit 1

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

mkdir -p "${BUILD:=$top/build}/log" || exit 1
build=$(CDPATH='' cd -- "$BUILD" && pwd) || exit 1

# The makes that we start are not parts of the make that started us: the
# variables of its command line (BUILD=...) are not meant for a kernel.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# shellcheck disable=SC2034 # for who sources this
jobs=$(nproc)
[ ! -d /usr/lib/ccache ] || PATH=/usr/lib/ccache:$PATH

# note NAME TEXT: one line of the report of what make does
note()
{
	printf '  %-12s %s\n' "$1" "$2"
}

# seconds as M:SS
clock()
{
	printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

# result WHAT COMMAND...: one line of TAP, counted in $count; $failed of them are
# not ok
count=0 failed=0
result()
{
	result_what=$1
	shift
	count=$((count + 1))
	if "$@"; then
		echo "ok $count - $result_what"
	else
		failed=$((failed + 1))
		echo "not ok $count - $result_what"
	fi
}

# How far the command is whose log is $1: ninja's and meson's [n/m], else the
# part of the $2 lines that its whole log is known to have.
progress_of()
{
	p=$(tail -n 1 "$1" 2>/dev/null | sed -n 's/^\[\([0-9]*\)\/\([0-9]*\)\].*/\1 \2/p')
	if [ -n "$p" ]; then
		echo "$((${p% *} * 100 / ${p#* }))%"
	elif [ "$2" -gt 0 ]; then
		p=$(wc -l <"$1")
		p=$((p * 100 / $2))
		[ $p -lt 99 ] || p=99
		echo "$p%"
	fi
}

# step NAME LINES TITLE COMMAND...: run COMMAND with its output in
# log/NAME.log, show that it goes on, and the end of the log if it fails.
# LINES: how long the log gets, for the percentage (0: not known).
step()
{
	step_name=$1 step_lines=$2 step_title=$3
	shift 3
	step_log=$build/log/$step_name.log
	step_start=$(date +%s)
	: >"$step_log"
	"$@" >"$step_log" 2>&1 </dev/null &
	step_pid=$!
	trap 'kill "$step_pid" 2>/dev/null; exit 130' INT
	trap 'kill "$step_pid" 2>/dev/null; exit 143' HUP TERM
	step_shown=$step_start
	# a terminal gets a line that changes every second, a log one each minute
	step_every=60
	[ ! -t 1 ] || step_every=1
	while kill -s 0 "$step_pid" 2>/dev/null; do
		sleep 0.2
		step_now=$(date +%s)
		if [ $((step_now - step_shown)) -ge $step_every ]; then
			step_shown=$step_now
			step_line=$(note "$step_name" \
				"$step_title: $(progress_of "$step_log" "$step_lines") $(clock $((step_now - step_start)))")
			if [ -t 1 ]; then
				printf '\r\033[K%s' "$step_line"
			else
				printf '%s\n' "$step_line"
			fi
		fi
	done
	step_rc=0
	wait "$step_pid" || step_rc=$?
	trap - INT HUP TERM
	[ ! -t 1 ] || printf '\r\033[K'
	if [ $step_rc -ne 0 ]; then
		note "$step_name" "$step_title: FAILED; the end of $step_log:"
		tail -n 30 "$step_log" | sed 's/^/    | /'
		return $step_rc
	fi
	note "$step_name" "$step_title: done in $(clock $(($(date +%s) - step_start)))"
}
