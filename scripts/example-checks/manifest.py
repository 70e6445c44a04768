"""Prints what a YAML file of the examples holds: yaml.py FILE shell | arguments.

shell: the lines that a pipeline's jobs give to a shell, each as one line; arguments: the words of a container's command.
"""

import sys

import yaml

path, what = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
for document in documents:
    if what == "arguments":
        container = document["spec"]["template"]["spec"]["containers"][0]
        print("\n".join(container["command"]))
        continue
    jobs = document.get("jobs") or {key: job for key, job in document.items() if "script" in job}
    for job in jobs.values():
        for line in [step["run"] for step in job.get("steps", []) if "run" in step] + job.get("script", []):
            print(line.strip())
