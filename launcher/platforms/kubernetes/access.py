"""How this user reaches a cluster: the kubeconfig, read by the official client, and no key left.

The client writes a kubeconfig's certificates to temporary files and removes them when Python ends
in good order, which a command that is interrupted does not: they are read at once and removed.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher.errors import HostError

_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_NO_KUBECONFIG = (
    "no kubeconfig; expected one there, or where $KUBECONFIG says (without --apply the manifests "
    "are printed, for `kubectl apply -f`)"
)


class Access(NamedTuple):
    """An API server, logged in to, and the namespace that the user means."""

    api: Any
    server: str
    namespace: str

    def ask(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str],
        body: Any, timeouts_s: tuple[float, float] | None,
    ) -> Any:  # fmt: skip
        """Return urllib3's answer to one request, its body not read yet.

        path: with `{namespace}` in the place of that.

        Raises the client's exceptions; its releases before 36 also for a status that is no success.
        """
        api, parameters = self.api, {"namespace": self.namespace}
        asked = (parameters, list(query.items()), dict(headers), body)
        logins = ["BearerToken"]
        if hasattr(api, "param_serialize"):
            made = api.param_serialize(method, path, *asked, auth_settings=logins)
            return api.call_api(*made, _request_timeout=timeouts_s).response
        answer, _, _ = api.call_api(
            path, method, *asked, auth_settings=logins, _preload_content=False,
            _request_timeout=timeouts_s,
        )  # fmt: skip
        return answer


def access(environ: Mapping[str, str], context: str | None, namespace: str | None) -> Access:
    """Return the way to the cluster that the kubeconfig's context names; in a pod, to its own.

    Raises:
        HostError: there is no kubeconfig, or it cannot be used.
    """
    try:
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config import ConfigException, load_incluster_config
    except ModuleNotFoundError as error:
        what = "Kubernetes needs more packages: pip install 'tf-config-launch[kubernetes]'"
        raise HostError(f"{error.name} is missing; {what}") from None
    from yaml import YAMLError

    configuration = Configuration()
    file = environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    found = any(os.path.exists(path) for path in file.split(os.pathsep) if path)
    folder = tempfile.mkdtemp(prefix="launch-kubernetes-")
    try:
        if not found and _IN_CLUSTER in environ:
            load_incluster_config(client_configuration=configuration)
            named = _own_namespace()
        elif not found:
            raise HostError(f"{file}: {_NO_KUBECONFIG}")
        else:
            named = _load(configuration, file, context, folder)
        _without_ends(configuration)
        configuration.retries = False  # we try again ourselves, and without a word on the console
        api = ApiClient(configuration)
        _keep_certificates(api)
    except ConfigException as error:
        raise HostError(f"{file}: {error}") from None
    except (OSError, YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise HostError(f"{file}: expected a kubeconfig: {what}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Access(api, str(configuration.host), namespace or named or "default")


def _load(configuration: Any, file: str, context: str | None, folder: str) -> str | None:
    """Have the client read a kubeconfig; return the namespace of its context."""
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    load_kube_config(file, context, configuration, persist_config=False, temp_file_path=folder)
    if refresh := configuration.refresh_api_key_hook:

        def refreshed(client: Any) -> None:
            refresh(client)
            client.refresh_api_key_hook = refreshed  # which it has set to its own
            _without_ends(client)
            shutil.rmtree(folder, ignore_errors=True)

        configuration.refresh_api_key_hook = refreshed
    contexts, current = list_kube_config_contexts(file)
    for each in contexts if context else [current]:
        if not context or each.get("name") == context:
            return (each.get("context") or {}).get("namespace")
    return None


def _without_ends(configuration: Any) -> None:
    """Take the blanks and line ends off logins that a file was read for: no header holds them."""
    for name, value in configuration.api_key.items():
        if isinstance(value, str):
            configuration.api_key[name] = value.strip()


def _keep_certificates(api: Any) -> None:
    """Read the certificates now, so that their files are needed no longer."""
    from urllib3.util.ssl_ import create_urllib3_context

    given = api.rest_client.pool_manager.connection_pool_kw
    if not api.configuration.host.startswith("https:"):
        return
    made = create_urllib3_context(cert_reqs=given.get("cert_reqs"))
    if ca_certs := given.get("ca_certs"):
        made.load_verify_locations(ca_certs)
    if cert_file := given.pop("cert_file", None):
        made.load_cert_chain(cert_file, given.pop("key_file", None))
    given.pop("key_file", None)
    given.pop("ca_certs", None)
    given["ssl_context"] = made


def _own_namespace() -> str | None:
    path = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None
