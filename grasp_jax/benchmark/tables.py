import json


def render(found): return json.dumps(found['results'], indent=1)
