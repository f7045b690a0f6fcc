#!/usr/bin/env bash
# vllm-router in front of replicas: a request goes where most of its prefix was sent before.
#
#   pip install vllm-router==0.1.17
#   WORKERS="http://10.0.0.1:8000 http://10.0.0.2:8000" PORT=8080 deploy/routers/vllm-router.sh
#
# WORKERS are the replicas' addresses.
set -euo pipefail

options=(
  --host "${HOST:-127.0.0.1}" --port "${PORT:-8080}"
  --prometheus-host 127.0.0.1 --prometheus-port "${METRICS_PORT:-29000}"
  --policy cache_aware
  --health-check-endpoint /ready
  # Once a minute, the default, is too seldom to notice a replica that drains or comes back.
  --health-check-interval-secs 1 --health-check-timeout-secs 2
  --health-failure-threshold 1 --health-success-threshold 1
  --worker-startup-check-interval 1
  # A replica that came back is used again after this time, not after a minute.
  --cb-timeout-duration-secs 5 --cb-success-threshold 1
)
read -ra replicas <<< "$WORKERS"
exec "${PYTHON:-python3}" -m vllm_router.launch_router "${options[@]}" --worker-urls "${replicas[@]}"
