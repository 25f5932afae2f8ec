"""A drill, longer than a test: many swaps under load, and what they cost.

    python tests/serving/http_drill.py MODELS A B --swaps=100

MODELS is a folder with the models A and B (work folders or bundles). Clients ask for lists without a pause while the
service swaps A and B; at the end SIGTERM comes in the middle of it all. Expect no request lost, and as much memory
after the last swap as after the first ones.
"""

import argparse
import http.client
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault('XLA_FLAGS_ONE_DEVICE', os.environ.get('XLA_FLAGS', ''))

from tests.serving.http_service import TOKEN, running  # noqa: E402


class Client(threading.Thread):
    """Asks for one list after the other until the door is shut."""

    def __init__(self, service, body, versions):
        super().__init__(daemon=True)
        self.service, self.body, self.versions = service, body, versions
        self.milliseconds, self.lost, self.wrong = [], 0, 0

    def run(self):
        headers = {'Authorization': f'Bearer {TOKEN}'}
        while True:
            client = self.service.client
            try:
                client.connect()
            except OSError:
                return
            while True:
                began = time.perf_counter()
                try:
                    client.request('POST', '/recommend', self.body, headers)
                    answer = client.getresponse()
                    said = json.loads(answer.read())
                except (OSError, http.client.HTTPException):
                    self.lost += 1
                    break
                self.milliseconds.append(1000 * (time.perf_counter() - began))
                self.wrong += answer.status != 200
                self.versions.add(said.get('model', {}).get('version'))
                if answer.headers['connection'] == 'close':
                    break


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', type=pathlib.Path)
    parser.add_argument('names', nargs=2)
    parser.add_argument('--swaps', type=int, default=100)
    parser.add_argument('--clients', type=int, default=4)
    given = parser.parse_args()
    items = (given.models / given.names[0] / 'prepare' / 'items.jsonl').read_text(encoding='utf-8').splitlines()[:5]
    body = json.dumps({'history': [json.loads(line)['id'] for line in items]})
    versions = set()
    with tempfile.TemporaryDirectory() as folder, running(
            folder, f'--workdir={given.models / given.names[0]}', token=TOKEN) as service:
        clients = [Client(service, body, versions) for _ in range(given.clients)]
        for client in clients:
            client.start()
        for swap in range(given.swaps):
            began = time.monotonic()
            status, said = service.post('/reload', path=given.names[(swap + 1) % 2])
            assert status == 200, said
            if swap < 4 or (swap + 1) % 10 == 0:
                print(f'swap {swap + 1}: {time.monotonic() - began:.1f} s, '
                      f'{service.metric("process_resident_memory_bytes") / 2 ** 20:.0f} MB', flush=True)
        code = service.end()
        for client in clients:
            client.join(60)
        times = [each for client in clients for each in client.milliseconds]
        lost, wrong = sum(client.lost for client in clients), sum(client.wrong for client in clients)
        print(f'{len(times)} answers by {len(versions)} models, {wrong} not 200, {lost} lost, exit code {code}; '
              f'ms: p50 {percentile(times, 0.5):.1f}, p99 {percentile(times, 0.99):.1f}, most {max(times):.1f}')
        sys.exit(bool(lost or wrong or code))


if __name__ == '__main__':
    main()
