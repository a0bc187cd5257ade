#!/bin/sh
# Start Ray's head: sh head.sh ADDRESS [OPTION...], with this machine's address in the cluster.
#
# All machines must have the same token: copy ~/.ray/auth_token, which is made here, to the others, or
# give one by RAY_AUTH_TOKEN_PATH. Further options go to `ray start`, such as --num-cpus=8.
set -eu
address=$1
shift
export RAY_AUTH_MODE=token
[ -n "${RAY_AUTH_TOKEN_PATH:-}" ] || ray get-auth-token --generate >/dev/null
exec ray start --head --node-ip-address="$address" --port=6379 \
  --include-dashboard=false --disable-usage-stats "$@"
