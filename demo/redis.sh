#!/bin/sh
# SPDX-License-Identifier: MIT
# In the lab: record what calls FUNC while redis-benchmark runs. Usage: redis.sh FUNC FILE
set -eu
kwalk=$(dirname "$0")/../.venv/bin/kwalk
redis-server --save "" --port 6379 >/dev/null &
server=$!
until redis-cli ping 2>/dev/null | grep -q PONG; do sleep 0.2; done
"$kwalk" record "$1" -o "$2" &
recorder=$!
until [ -s "$2" ]; do # attached
	kill -0 "$recorder"
	sleep 0.2
done
redis-benchmark -t set -n 50000 -q | tr '\r' '\n' | tail -n 1
kill -INT "$recorder"
wait "$recorder"
kill "$server"
