"""Recommends from a bundle of `grasp_jax.export` with JAX and NumPy alone:

    python docs/serve_bundle.py BUNDLE ITEM ITEM ...    # ids of your own files, oldest first
"""

import json
import pathlib
import struct
import sys

import jax
import numpy as np
from jax import export

bundle, seen = pathlib.Path(sys.argv[1]), sys.argv[2:]
scorer = json.loads((bundle / 'bundle.json').read_text(encoding='utf-8'))['scorer']
items = [json.loads(line) for line in (bundle / 'prepare' / 'items.jsonl').open(encoding='utf-8')]
number = {item['id']: place for place, item in enumerate(items, 1)}
raw = (bundle / 'weights.safetensors').read_bytes()  # the length of a header, the header, numbers
begin = 8 + struct.unpack('<Q', raw[:8])[0]
header = json.loads(raw[8:begin])


def stored(argument):
    """A parameter or a table of vectors."""
    if argument['file'].endswith('.npy'):
        return np.load(bundle / argument['file'])
    first, last = header[argument['name']]['data_offsets']
    return np.frombuffer(raw[begin + first:begin + last], argument['dtype']).reshape(argument['shape'])


asked = {argument['name']: argument['shape'] for argument in scorer['arguments'] if argument['file'] is None}
history = np.zeros((1, asked['history'][1]), np.int32)
history[0, :len(seen)] = [number[item] for item in seen][-history.shape[1]:]
program = jax.jit(export.deserialize(bytearray((bundle / scorer['file']).read_bytes())).call)
scores = np.array(program(*(stored(each) for each in scorer['arguments'] if each['file']), history)[0])
config = json.loads((bundle / 'config.json').read_text(encoding='utf-8'))['config']
scores[[number[item] - 1 for item in seen if not config['evaluate'].get('repeats')]] = -np.inf
for rank, place in enumerate(np.argsort(-scores, kind='stable')[:10], 1):
    print(f'{rank:2}  {scores[place]:.6f}  {items[place]["id"]}  {items[place]["attributes"].get("title", "")}')
