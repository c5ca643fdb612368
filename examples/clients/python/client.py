"""A player in Python: joins, flies for 200 ticks with a copy of the world, loses its stream in the middle and comes back.

python3 client.py --url http://127.0.0.1:7777 [--ca ca.pem] [--ticks 200]

What it prints is one line of JSON; it fails if the copy ever differs from the server's world, or a move was lost.
"""

import argparse
import json
import queue
import random
import secrets
import sys
import time
from urllib.parse import urlsplit

import grpc

from messages import generate
from replica import Desync, Refused, Replica, applied_hash

lobby_pb2, lobby_pb2_grpc, play_pb2, play_pb2_grpc = generate()

RESUMES_MAX = 20


class Player:
    """A session over as many streams as it takes."""

    def __init__(self, channel, ticks):
        self.lobby = lobby_pb2_grpc.LobbyStub(channel)
        self.play = play_pb2_grpc.PlayStub(channel)
        self.ticks = ticks
        self.seen = {"updates": 0, "checksums": 0, "desyncs": 0, "moves": 0, "resumed": 0, "as_same_player": False}
        self.welcome = None
        self.replica = None
        self.first_tick = self.last_tick = 0
        self.has_left = False
        # The ticket for the server that the room moved to.
        self.redirect = ""
        # What was sent, by number, and the hash after each.
        self.sent = []
        self.hashes = [0]
        self.acknowledged = 0

    def join(self):
        """A ticket: for a seat, or to go on with the session."""
        token = self.welcome.resume_token if self.welcome else ""
        request = lobby_pb2.JoinRequest(request_id=secrets.token_hex(16), player_name="Python", resume_token=token)
        for attempt in range(8):
            try:
                return self.lobby.Join(request, timeout=10).ticket
            except grpc.RpcError as error:
                # The same request again is the same wish: it does not take two seats.
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                time.sleep(random.uniform(0.05, min(2, 0.2 * 2**attempt)))
        raise SystemExit("nobody answers")

    def run(self):
        ticket, resumes = self.join(), 0
        while True:
            self.redirect = ""
            try:
                if self.stream(ticket):
                    return self.seen
                # It was cut off in the middle: the same ticket is still good.
            except grpc.RpcError as error:
                print(f"the stream ended: {error.code().name}: {error.details()}", file=sys.stderr)
                resumes += 1
                if resumes > RESUMES_MAX:
                    raise SystemExit("it ends again and again") from error
                # A room that moved is somewhere else already: there at once. Else nobody is in a hurry.
                if not self.redirect and not has_moved(error):
                    time.sleep(random.uniform(0.05, 0.5))
                ticket = self.redirect or self.join()

    def stream(self, ticket):
        """Plays one stream. False: it was cut off on purpose."""
        requests = queue.Queue()
        token = self.welcome.resume_token if self.welcome else ""
        hello = play_pb2.Hello(protocol_version=1, ticket=ticket, resume_token=token)
        requests.put(play_pb2.PlayRequest(hello=hello))
        metadata = [("authorization", f"Bearer {ticket}")]
        responses = self.play.Play(iter(requests.get, None), metadata=metadata)
        for response in responses:
            kind = response.WhichOneof("message")
            if kind == "welcome":
                self.welcomed(response.welcome, requests)
            elif kind == "redirect":
                self.redirect = response.redirect.ticket
            elif kind == "update":
                self.updated(response.update, requests)
                played = self.last_tick - self.first_tick
                if played > self.ticks // 2 and self.seen["resumed"] == 0:
                    responses.cancel()
                    return False
                if played >= self.ticks and not self.has_left:
                    # A graceful leave: the last update acknowledges every move.
                    self.has_left = True
                    requests.put(play_pb2.PlayRequest(leave=play_pb2.Leave()))
                    requests.put(None)
        if self.acknowledged != len(self.sent):
            raise SystemExit(f"{len(self.sent) - self.acknowledged} moves were lost")
        return True

    def welcomed(self, welcome, requests):
        if self.welcome is not None:
            is_same = (welcome.player_id, welcome.entity) == (self.welcome.player_id, self.welcome.entity)
            self.seen["resumed"] += welcome.resumed
            self.seen["as_same_player"] = welcome.resumed and is_same
        self.welcome = welcome
        self.has_left = False
        self.acknowledged = welcome.last_applied_sequence
        if welcome.HasField("restored_age_ms"):
            self.set_back(welcome)
        self.replica = Replica(welcome.world, welcome.motions)
        for move in self.sent[welcome.last_applied_sequence :]:
            requests.put(play_pb2.PlayRequest(move=move))

    def set_back(self, welcome):
        """The room was restored from what had been recorded: moves past that are gone, and their numbers are free."""
        del self.sent[welcome.last_applied_sequence :]
        del self.hashes[welcome.last_applied_sequence + 1 :]
        if (welcome.applied_count, welcome.applied_hash) != (len(self.sent), self.hashes[-1]):
            raise SystemExit("the room was restored with other moves than those sent")

    def updated(self, update, requests):
        self.seen["updates"] += 1
        if self.replica.tick == 0 and (not update.HasField("base_tick") or update.base_tick != 0):
            return  # Keyframes were asked for: nothing else is of use.
        if update.HasField("move_ack"):
            self.check(update.move_ack)
        checked = self.replica.checksums
        try:
            self.replica.apply(update)
        except Refused as refused:
            self.seen["desyncs"] += isinstance(refused, Desync)
            print(f"tick {update.tick}: {refused}", file=sys.stderr)
            requests.put(play_pb2.PlayRequest(resync=play_pb2.Resync(tick=update.tick)))
            return
        finally:
            self.seen["checksums"] += self.replica.checksums - checked
        self.first_tick = self.first_tick or update.tick
        # A room that was restored plays some ticks once more.
        self.first_tick -= max(0, self.last_tick - update.tick)
        self.last_tick = update.tick
        if self.has_left:
            return
        # A move every tenth tick; in between the acknowledgement that is due every quarter of the window.
        if update.tick % 10 == 0 and len(self.sent) - self.acknowledged < 64:
            self.move(update.tick, requests)
        elif update.tick % 2 == 0:
            requests.put(play_pb2.PlayRequest(ping=play_pb2.Ping(seen_tick=update.tick)))

    def move(self, tick, requests):
        sequence = len(self.sent) + 1
        axis_x = random.randint(-127, 127)
        move = play_pb2.Move(sequence=sequence, seen_tick=tick, axis_x=axis_x, axis_y=100, buttons=int(sequence % 3 == 0))
        self.hashes.append(applied_hash(self.hashes[-1], move))
        self.sent.append(move)
        self.seen["moves"] += 1
        requests.put(play_pb2.PlayRequest(move=move))

    def check(self, ack):
        """The server applied exactly the moves that were sent, each once and in order."""
        self.acknowledged = ack.input_ack
        if ack.applied_count != ack.input_ack or ack.applied_hash != self.hashes[ack.input_ack]:
            raise SystemExit("other moves were applied than those sent")


def has_moved(error):
    """The reason is in the status's details, as google.rpc.ErrorInfo."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return b"ROOM_MOVED" in details


def connect(url, ca):
    address = urlsplit(url)
    if address.scheme != "https":
        return grpc.insecure_channel(address.netloc)
    with open(ca, "rb") if ca else open("/dev/null", "rb") as file:
        roots = file.read() or None
    return grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(roots))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--url", default="http://127.0.0.1:7777")
    arguments.add_argument("--ca", help="a file with the authority's certificate, for https")
    arguments.add_argument("--ticks", type=int, default=200)
    options = arguments.parse_args()
    with connect(options.url, options.ca) as channel:
        seen = Player(channel, options.ticks).run()
    print(json.dumps(seen))
    sys.exit(0 if seen["desyncs"] == 0 and seen["as_same_player"] and seen["checksums"] > 0 else 1)


if __name__ == "__main__":
    main()
