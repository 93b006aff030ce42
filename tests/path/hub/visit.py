"""Logs in to the hub at the address that is the first argument as a browser does, waits for the user's server, asks it
what it is, and stops it. Prints what the server says of itself as JSON."""

import http.cookiejar
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

base, user, password = sys.argv[1:]
jar = http.cookiejar.CookieJar()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))


def ask(path, data=None, method=None):
    """Status and text of an answer, redirects followed."""
    request = urllib.request.Request(base + path, data, method=method)
    tokens = [cookie.value for cookie in jar if cookie.name == "_xsrf" and path.startswith(cookie.path)]
    if method:
        request.add_header("X-XSRFToken", max(tokens, key=len))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error)


def until(what, ask_again):
    deadline = time.monotonic() + 180
    while True:
        status, text = ask_again()
        if status == 200:
            return text
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: {status} {text[:500]}")
        time.sleep(0.5)


until("the hub does not answer", lambda: ask("/hub/login"))
token = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
form = urllib.parse.urlencode({"username": user, "password": password, "_xsrf": token}).encode()
status, text = ask("/hub/login?next=%2Fhub%2Fspawn", form)
if status != 200 or "Invalid" in text:
    raise SystemExit(f"no login: {status} {text[:500]}")


def lab():
    status, text = ask(f"/user/{user}/lab")
    # While the server starts, the hub answers in its place.
    return status if "appVersion" in text else 0, text


until("the user's server does not come", lab)
said = json.loads(until("the server does not tell its state", lambda: ask(f"/user/{user}/api/status")))
status, text = ask(f"/hub/api/users/{user}/server", method="DELETE")
if status not in (202, 204):
    raise SystemExit(f"the server is not stopped: {status} {text[:500]}")
print(json.dumps(said))
