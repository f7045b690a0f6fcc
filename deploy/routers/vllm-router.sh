#!/usr/bin/env bash
# vllm-router in front of replicas: it follows what their caches hold, by their KV-cache events.
#
#   pip install vllm-router==0.1.17
#   sm serve --kv-events 'tcp://*:5557' --kv-events-topic kv-events    # each replica, built with --features kv-events
#   WORKERS="http://10.0.0.1:8000 http://10.0.0.2:8000" KV_EVENTS="tcp://10.0.0.1:5557 tcp://10.0.0.2:5557" \
#     PORT=8080 deploy/routers/vllm-router.sh
#
# WORKERS are the replicas' addresses, KV_EVENTS those of their events, in the same order. MODEL is what clients call the model.
set -euo pipefail

options=(
  --host "${HOST:-127.0.0.1}" --port "${PORT:-8080}"
  --prometheus-host 127.0.0.1 --prometheus-port "${METRICS_PORT:-29000}"
  --policy kv_aware
  --kv-event-block-size 16 --kv-event-model "${MODEL:-demo}"
  --health-check-endpoint /ready
  # Once a minute, the default, is too seldom to notice a replica that drains or comes back.
  --health-check-interval-secs 1 --health-check-timeout-secs 2
  --health-failure-threshold 1 --health-success-threshold 1
  --worker-startup-check-interval 1
  # A replica that came back is used again after this time, not after a minute.
  --cb-timeout-duration-secs 5 --cb-success-threshold 1
)
read -ra replicas <<< "$WORKERS"
read -ra events <<< "$KV_EVENTS"
for index in "${!replicas[@]}"; do
  options+=(--kv-event-source "${replicas[$index]}=${events[$index]}")
done
exec "${PYTHON:-python3}" -m vllm_router.launch_router "${options[@]}" --worker-urls "${replicas[@]}"
