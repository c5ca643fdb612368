# Sourced by scripts that start programs and end them in order: play.sh, observe.sh.
# Before that they set   self   what they are called in messages
#                        logs   the folder in which each program has its NAME.log
# shellcheck shell=bash disable=SC2154 # those two

ready_wait_secs=20
stop_wait_secs=15 # longer than the server's own grace period for open sessions

# A signal is only counted; the loops below look at the count.
signals=0
trap 'signals=$((signals + 1))' INT TERM HUP

started='' # a line "PID NAME" for each program, the newest first

# Each program gets a process group of its own. Ctrl-C in a terminal signals the whole foreground
# group; this way it reaches only this script, which then ends its programs in order.
start() { # NAME COMMAND...
  local name=$1
  shift
  set -m
  "$@" </dev/null >"$logs/$name.log" 2>&1 &
  set +m
  started="$! $name"$'\n'$started
}

alive() { kill -0 "$1" 2>/dev/null; }
nap() { sleep 0.1 || true; } # a signal may cut it short

stop() { # PID SIGNALS: asks, waits, and insists; at once when more than SIGNALS have come
  local since=$SECONDS
  if alive "$1"; then kill -TERM "$1" 2>/dev/null || true; fi
  while alive "$1" && [ "$signals" -le "$2" ] && [ $((SECONDS - since)) -lt $stop_wait_secs ]; do nap; done
  if alive "$1"; then kill -KILL -- "-$1" 2>/dev/null || true; fi
}

stop_all() { # the newest first: nobody loses what it still talks to
  local signals_before=$signals pid name
  while read -r pid name; do
    [ -z "$pid" ] || stop "$pid" "$signals_before"
  done <<<"$started"
  started=''
  { wait; } 2>/dev/null || true
}
trap stop_all EXIT # for what nobody foresaw; `finish` and `fail` come first

finish() {
  printf '\nStopping. (Again: at once.)\n' 2>/dev/null || true # the terminal may be gone
  stop_all
  exit 0
}

fail() { # MESSAGE [NAME OF THE LOG]
  echo "$self: $1" >&2
  [ -z "${2:-}" ] || { echo "$self: the end of $logs/$2.log:"; tail -n 20 "$logs/$2.log"; } >&2
  stop_all
  exit 1
}

check_alive() { # fails for the first program that ended by itself
  local pid name
  while read -r pid name; do
    [ -z "$pid" ] || alive "$pid" || fail "$name ended by itself" "$name"
  done <<<"$started"
}

answers() { curl --silent --output /dev/null --max-time 1 "$@"; }

# Somebody else's program would answer for ours, and ours would fail a moment later.
must_be_free() { # PORT VARIABLE: whoever listens there is in the way
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    fail "port $1 is already taken: set $2"
  fi
}

wait_ready() { # NAME URL
  local deadline=$((SECONDS + ready_wait_secs))
  until answers --fail "$2"; do
    [ "$signals" -eq 0 ] || finish
    check_alive
    [ $SECONDS -lt $deadline ] || fail "$1 was not ready within $ready_wait_secs s" "$1"
    nap
  done
}

run_until_signal() {
  while [ "$signals" -eq 0 ]; do
    check_alive
    nap
  done
  finish
}
