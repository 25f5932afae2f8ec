"""A server of OpenAI's interface that answers by a script, with faults: run as a program, it prints its port.

    python scripted_server.py LOG [FAULTS as JSON]

Every request that it answers well is written to LOG as a line of JSON before the answer leaves, so that a test can
count who was asked how often. Faults: shares of requests that get 429, 500, a lost connection, a cut body; `empty`,
the share of prompts whose answer is always empty; `slow`, the share that waits; `delay` seconds for every answer;
`refuses`, the status of all; `refused`, the share of prompts that get 400, without any delay, `refused_from`, things
from this number on get it; `dense`, tokens of each
word of a prompt; `long_answers`, of three times the length; `half`, with half of a character at their end; `uncounted`,
without `usage`; `content`, what stands in the place of each answer's text, in which `TEXT` becomes the text; `longest`,
words of the longest block of texts that is embedded; `echo`, with the key and half a character in what a 400 says;
`wrong`, the share of bodies that hold an error under status 200; `counts`, what stands in the place of each count;
`shift`, which vectors are numbered by. Vectors come in no order but that of their numbers. Dialects: `no_base64`,
vectors are refused unless `encoding_format` is float; `base64`, they come so whatever is asked for; `needs`, an entry
without which a request is refused; `knows`, the only entries that a request for vectors may have.
"""

import asyncio
import base64
import hashlib
import json
import math
import random
import re
import struct
import sys


def share_of(text):
    """A number from 0 to 1 that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16 ** 8


def answer_to(body):
    """A text that depends on the prompt alone."""
    digest = hashlib.sha256(body['messages'][-1]['content'].encode()).hexdigest()
    return f'It suits people of kind {digest[:12]} who care for {digest[12:20]}.'


def tokens(text):
    return len(text.split())


def chat(body, faults):
    prompt = ' '.join(message['content'] for message in body['messages'])
    text = '' if share_of(prompt) < faults.get('empty', 0) else answer_to(body)
    if faults.get('long_answers'):
        text = text * 3
    if faults.get('half'):
        text += ' \ud83d'  # the first half of an emoji
    limit = body.get('max_tokens') or body.get('max_completion_tokens') or 1000
    finish = 'length' if tokens(text) > limit else 'stop'
    text = ' '.join(text.split()[:limit])
    counted = tokens(prompt) * faults.get('dense', 1)
    usage = {'prompt_tokens': faults.get('counts', counted), 'completion_tokens': faults.get('counts', tokens(text)),
             'total_tokens': counted + tokens(text)}
    if 'content' in faults:
        text = json.loads(json.dumps(faults['content']).replace('TEXT', text))
    return {'id': 'x', 'object': 'chat.completion', 'created': 0, 'model': body['model'], 'choices': [
        {'index': 0, 'finish_reason': finish, 'message': {'role': 'assistant', 'content': text}}],
        **({} if faults.get('uncounted') else {'usage': usage})}


def embeddings(body, faults):
    """Vectors of 16 numbers that depend on the text alone."""
    texts = body['input'] if isinstance(body['input'], list) else [body['input']]
    data = []
    for index, text in enumerate(texts):
        rng = random.Random(text)
        vector = [rng.gauss(0, 1) for _ in range(16)]
        if faults.get('base64'):
            vector = base64.b64encode(struct.pack('<16f', *vector)).decode()
        data.append({'object': 'embedding', 'index': index + faults.get('shift', 0), 'embedding': vector})
    random.Random(len(texts)).shuffle(data)
    count = sum(map(tokens, texts)) * faults.get('dense', 1)
    return {'object': 'list', 'model': body['model'], 'data': data,
            **({} if faults.get('uncounted') else {
                'usage': {'prompt_tokens': faults.get('counts', count), 'total_tokens': count}})}


def refused(path, body, faults):
    """Whether this request is never answered, whatever happens."""
    if faults.get('needs', 'model') not in body:
        return True
    if path.endswith('embeddings'):
        if faults.get('no_base64') and body.get('encoding_format') != 'float':
            return True
        if not body.keys() <= set(faults.get('knows', body)):
            return True
        return sum(map(tokens, body['input'])) > faults.get('longest', math.inf)
    prompt = body['messages'][-1]['content']
    things = map(int, re.findall(r'Thing (\d+)', prompt))
    return share_of(prompt) < faults.get('refused', 0) or max(things, default=0) >= faults.get('refused_from', math.inf)


def response(status, payload):
    text = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    return (f'HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n'
            'Connection: keep-alive\r\nRetry-After-Ms: 20\r\n\r\n').encode() + text


class Server:
    def __init__(self, log, arrived, faults):
        self.arrived = arrived
        self.log, self.faults, self.random = log, faults, random.Random(faults.get('seed', 0))

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b'\r\n\r\n')
                path = head.split(b' ')[1].decode()
                length = next(int(line.split(b':')[1]) for line in head.split(b'\r\n')
                              if line.lower().startswith(b'content-length'))
                body = json.loads(await reader.readexactly(length))
                key = head.lower().partition(b'authorization: bearer ')[2].partition(b'\r')[0].decode()
                if not await self.one(path, body, writer, key):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def one(self, path, body, writer, key):
        self.arrived.write('.')
        self.arrived.flush()
        faults, dice = self.faults, self.random.random()
        if refused(path, body, faults):
            what = f'no such thing for {key} \ud83d' if faults.get('echo') else 'no such thing'
            writer.write(response(400, {'error': {'message': what, 'type': 'x', 'code': None}}))
            await writer.drain()
            return True
        await asyncio.sleep(faults.get('delay', 0) + (0.3 if self.random.random() < faults.get('slow', 0) else 0))
        if status := faults.get('refuses'):
            writer.write(response(status, {'error': {'message': 'no such thing', 'type': 'x', 'code': None}}))
            await writer.drain()
            return True
        for status, name in ((429, '429'), (500, '500')):
            if dice < faults.get(name, 0):
                writer.write(response(status, {'error': {'message': 'scripted', 'type': 'x', 'code': None}}))
                await writer.drain()
                return True
            dice -= faults.get(name, 0)
        if dice < faults.get('dropped', 0):
            return False
        dice -= faults.get('dropped', 0)
        if dice < faults.get('wrong', 0):
            writer.write(response(200, {'error': {'message': 'overloaded', 'type': 'x', 'code': None}}))
            await writer.drain()
            return True
        dice -= faults.get('wrong', 0)
        payload = embeddings(body, faults) if path.endswith('embeddings') else chat(body, faults)
        whole = response(200, payload)
        if dice < faults.get('cut', 0):
            writer.write(response(200, json.dumps(payload)[:40]))
            await writer.drain()
            return True
        asked = body['input'] if path.endswith('embeddings') else body['messages'][-1]['content']
        self.log.write(json.dumps({'asked': asked, 'key': hashlib.sha256(
            json.dumps(asked).encode()).hexdigest()}) + '\n')
        self.log.flush()
        writer.write(whole)
        await writer.drain()
        return True


async def main():
    faults = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    with open(sys.argv[1], 'a', encoding='utf-8') as log, open(sys.argv[1] + '.arrived', 'a') as arrived:
        server = await asyncio.start_server(Server(log, arrived, faults).serve, '127.0.0.1', 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(main())
