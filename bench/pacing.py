"""How exactly a replay keeps its pace: python3 bench/pacing.py URL SPEED. Each event is due when its own clock (event time) says so, `speed` times as fast, counted
from the first one's arrival; prints how far off the arrivals are, in milliseconds. What the client itself takes to be woken up and to read is in it."""
import datetime
import http.client
import json
import sys
import time
import urllib.parse


def micros(text):
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int((at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


def main(url, speed):
    parts = urllib.parse.urlsplit(url)
    conn = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    conn.request("GET", f"/v1/replay?speed={speed}", headers={"Accept-Encoding": "identity"})
    answer = conn.getresponse()
    arrivals = []
    for line in iter(answer.readline, b""):
        arrivals.append((time.monotonic(), line))
    told = [(at, micros(json.loads(line)["event_time"])) for at, line in arrivals if b'"event_time"' in line]
    begun, first = told[0]
    off = sorted(abs((at - begun) - (event - first) / 1e6 / float(speed)) * 1e3 for at, event in told)
    print(f"pacing: speed={speed} events={len(off)} seconds={told[-1][0] - begun:.2f} off_ms_p50={off[len(off) // 2]:.2f} "
          f"off_ms_p99={off[len(off) * 99 // 100]:.2f} off_ms_max={off[-1]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
