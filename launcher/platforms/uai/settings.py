"""What `platforms.uai` of cluster.yaml may say."""

from typing import Annotated, NamedTuple

from launcher.cluster import Range

Hours = Annotated[int, Range(1)]
PollSeconds = Annotated[float, Range(0.05, 3600)]


class Settings(NamedTuple):
    """UAI Train of UCloud. The keys that sign its requests stand in the environment or a file.

    data: Where the training data lies: `IP:/ufs-ID/PATH/` (UFS), for a single node also
        `https://BUCKET.….ufileos.com/PREFIX/` (UFile). Nodes see it at /data/data.
    output: Where results go, in the same form. Nodes see it at /data/output; nothing else that a
        node writes is kept.
    gpu: The kind of GPU, such as P40; needed where the platform has several with as many GPUs.
    max_hours: After how many hours the platform ends the job; default: `timeouts.run_s`, rounded
        up. One of the two is needed.
    project: The project (ProjectId); default: $UCLOUD_PROJECT_ID, else that of the keys' profile.
    region: The region.
    zone: The zone.
    business_group: The business group that the job belongs to.
    memo: A remark for the platform's own pages.
    framework: What the platform calls TensorFlow among its distributed frameworks.
    exec: Whether the command goes through `launch exec`, which the image must hold then. It turns
        the platform's TF_CONFIG into what TensorFlow 2 takes. false: the script itself is
        started, as one that does the same (`launcher.training`).
    by_digest: Whether the image is sent by its digest; false: by its tag, as it may be tomorrow.
    credentials: A file with the keys, as the `ucloud` command keeps them; default:
        ~/.ucloud/credential.json. $UCLOUD_PUBLIC_KEY and $UCLOUD_PRIVATE_KEY come first.
    profile: Whose keys of that file; default: the active profile.
    endpoint: Where the platform's API answers; https, or http on this machine.
    poll_s: Seconds between two looks at the logs of a job that is followed.
    """

    data: str = ""
    output: str = ""
    gpu: str | None = None
    max_hours: Hours | None = None
    project: str | None = None
    region: str = "cn-bj2"
    zone: str = "cn-bj2-04"
    business_group: str = "default"
    memo: str = ""
    framework: str = "tensorflow"
    exec: bool = True
    by_digest: bool = True
    credentials: str | None = None
    profile: str | None = None
    endpoint: str = "https://api.ucloud.cn"
    poll_s: PollSeconds = 5.0
