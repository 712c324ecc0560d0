"""Build the project's images and run them, on a machine that may have neither Docker nor a registry in reach.

Standard library only, so that it runs before anything is installed (`python3 -m containers.tools --help`, from the
repository's root). The Dockerfiles are the ordinary ones: what differs on such a machine (where the base image comes
from, the network's own CA, pip's configuration) is handed to the build from outside and leaves no trace in the image.

Left out: pushing (Cloud Build and `skopeo copy` do that), and any engine but buildah and podman. With Docker, call
`docker build` yourself: the line is at the top of each Dockerfile.
"""
