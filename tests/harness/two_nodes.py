"""A Ray cluster of two nodes with one CPU each, for a test that kills one: told what to do, line by line, on stdin."""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
worker = cluster.add_node(num_cpus=1)
raylet = worker.all_processes["raylet"][0].process.pid
print(json.dumps({"address": cluster.address, "raylet": raylet}), flush=True)
sys.stdin.readline()
cluster.remove_node(worker, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
