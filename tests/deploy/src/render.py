"""Renders the chart with Helm's own engine and validates it strictly. Usage: render.py CHART KUBE_VERSION VALUES_JSON; prints the documents."""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

chart_dir, version, values = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
values["kubeVersionOverride"] = f"v{version}.0"
report = helm.lint(chart_dir, values, strict=True, kube_version=f"v{version}.0")
problems = [m for m in report["messages"] if m["severity"] >= 2] + report["errors"]
if problems:
    sys.exit(f"lint: {problems}")
documents = []
with helm.Chart.load(chart_dir) as chart:
    chart.validate_schema(values)
    for path, text in sorted(chart.render(values, name="demo", namespace="security").items()):
        if path.endswith(".txt"):
            continue
        for document in yaml.safe_load_all(text):
            if document:
                kubernetes_validate.validate(document, version, strict=True)
                documents.append(document)
json.dump(documents, sys.stdout)
