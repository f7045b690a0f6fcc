#!/usr/bin/env bash
# smg in front of replicas: a request goes where its prefix is cached.
#
#   pip install smg==1.13.0
#   WORKERS="http://10.0.0.1:8000 http://10.0.0.2:8000" PORT=8080 deploy/routers/smg.sh
#
# WORKERS are the replicas' addresses. In Kubernetes, replace --worker-urls by
# `--service-discovery --selector app.kubernetes.io/name=smallmind --service-discovery-port 8000`.
set -euo pipefail

options=(
  --host "${HOST:-127.0.0.1}" --port "${PORT:-8080}"
  --prometheus-host 127.0.0.1 --prometheus-port "${METRICS_PORT:-29000}"
  --policy cache_aware
  # Replicas count and cut tokens themselves.
  --disable-tokenizer-autoload
  # /health would do as well: both answer 503 while a replica drains, and /ready also while it loads.
  --health-check-endpoint /ready
  # Once a minute, the default, is too seldom to notice a replica that drains or comes back.
  --health-check-interval-secs 1 --health-check-timeout-secs 2
  --health-failure-threshold 1 --health-success-threshold 1
  --worker-startup-check-interval 1
  # A replica that came back is used again after this time, not after a minute.
  --cb-timeout-duration-secs 5 --cb-success-threshold 1
  --retry-max-retries 5 --retry-initial-backoff-ms 50
)
read -ra replicas <<< "$WORKERS"
exec "${PYTHON:-python3}" -m smg launch "${options[@]}" --worker-urls "${replicas[@]}"
