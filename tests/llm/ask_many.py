"""Asks a server about many made-up items and users, as a program of its own that can be killed.

    python ask_many.py URL STORE OUT COUNT [settings of `llm` as JSON]
"""

import json
import pathlib
import resource
import sys
import time

from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.config import default
from grasp_jax.llm import language_model
from grasp_jax.texts import domains, llm_texts


def questions(config, count):
    """Half about items, half about users."""
    items = [(f'i{number}', f'The item has the following attributes: name is Thing {number}.')
             for number in range(count // 2)]
    users = [(f'u{number}', f'The user has visited the following items, newest first: Thing {number}; Thing 7.')
             for number in range(count - count // 2)]
    return llm_texts.PromptSet(language_model.from_config(config), domains.load('shop'), items, users)


def config_for(url, settings=None):
    """A config whose language model is the scripted server."""
    config = default()
    config.text.source = 'model'
    config.llm.update({'model': 'scripted', 'base_url': url, 'concurrency': 64, **(settings or {})})
    return config


def write(config, count, folder):
    """Texts of items and of users, and facts; what was answered is kept in `folder`."""
    folder.mkdir(exist_ok=True)
    return llm_texts.write(questions(config, count), config, folder / 'store.sqlite', folder)


def main():
    url, store, out, count = sys.argv[1:5]
    config = config_for(url, json.loads(sys.argv[5]) if len(sys.argv) > 5 else {})
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    try:
        items, users, facts = llm_texts.write(questions(config, int(count)), config, pathlib.Path(store), folder)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        print(f'stopped; {stopped}', file=sys.stderr)
        sys.exit(130)
    except RunInterrupted as stopped:
        print(f'stopped; {stopped}', file=sys.stderr)
        sys.exit(75)
    facts['seconds'] = time.perf_counter() - begin
    facts['peak_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / 'texts.json').write_text(json.dumps([items, users]), encoding='utf-8')
    print(json.dumps(facts))


if __name__ == '__main__':
    main()
