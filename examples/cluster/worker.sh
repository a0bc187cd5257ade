#!/bin/sh
# Join Ray's cluster: sh worker.sh HEAD ADDRESS [OPTION...], with the addresses of its head and of
# this machine. The token of the head must be here, see head.sh.
set -eu
head=$1 address=$2
shift 2
export RAY_AUTH_MODE=token
exec ray start --address="$head:6379" --node-ip-address="$address" --disable-usage-stats "$@"
