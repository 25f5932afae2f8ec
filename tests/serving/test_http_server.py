"""The door of the service: who is let in when it shuts."""

import socket
import sys
import threading

import pytest

from grasp_jax.serving.http import server


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='Linux alone can keep clients from the queue')
@pytest.mark.parametrize(('family', 'host'), [(socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')])
def test_a_door_that_shuts_serves_who_queues_and_lets_nobody_else_queue(family, host):
    try:
        door = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f'this machine has no {host}')
    with door:
        address = door.getsockname()[:2]
        with socket.create_connection(address, timeout=60) as first:
            server.stop_queue(door)
            refused = []

            def come_late():
                try:
                    socket.create_connection(address, timeout=60).close()
                except ConnectionRefusedError as error:
                    refused.append(error)

            late = threading.Thread(target=come_late)
            late.start()
            late.join(0.3)
            assert late.is_alive()  # neither let in nor sent away
            served, _ = door.accept()
            with served:
                door.setblocking(False)
                with pytest.raises(BlockingIOError):
                    door.accept()
                door.close()
                first.sendall(b'asked')
                served.settimeout(60)
                assert served.recv(5) == b'asked'
                served.sendall(b'said')
                assert first.recv(4) == b'said'
            late.join(60)
            assert len(refused) == 1
