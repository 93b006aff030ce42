"""A JupyterHub on loopback that starts its users' servers in an image, as DockerSpawner does."""

import asyncio
import os

from jupyterhub.spawner import Spawner
from jupyterhub.utils import random_port


async def docker(*arguments):
    """What `docker` prints, and whether it ended well."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode().strip(), process.returncode == 0


class Containers(Spawner):
    """One container a user: the image's own entrypoint and command, an empty home, no privileges."""

    @property
    def container(self):
        return f"{os.environ['HUB_CONTAINERS']}-{self.user.name}"

    async def start(self):
        self.ip, self.port = "127.0.0.1", random_port()
        arguments = ["run", "--detach", "--name", self.container, "--network", "host", "--cap-drop", "ALL"]
        arguments += ["--security-opt", "no-new-privileges", "--tmpfs", "/home/jovyan:mode=0755,uid=1000,gid=1000"]
        for name, value in self.get_env().items():
            arguments += ["--env", f"{name}={value}"]
        said, ended_well = await docker(*arguments, os.environ["HUB_IMAGE"])
        if not ended_well:
            raise RuntimeError(said)
        return self.ip, self.port

    async def poll(self):
        running, known = await docker("inspect", "--format", "{{.State.Running}}", self.container)
        return None if known and running == "true" else 1

    async def stop(self, now=False):
        await docker("stop", "--time", "10", self.container)
        await docker("rm", "--force", "--volumes", self.container)


c = get_config()  # noqa: F821
c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['HUB_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['HUB_OWN_PORT']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['HUB_PROXY_PORT']}"
c.JupyterHub.spawner_class = Containers
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.cleanup_servers = True
c.DummyAuthenticator.password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True
# What a hub's machine has in its environment is nothing to an image.
c.Spawner.env_keep = []
c.Spawner.start_timeout = 150
c.Spawner.http_timeout = 150
