"""What was built: the image, the artifact and the commit that one model version stands for."""

from vertex_deploy.release.release import Release, build_release, read_pins

__all__ = ["Release", "build_release", "read_pins"]
