"""``python -m vertex_deploy`` is ``vertex-deploy``."""

from vertex_deploy.cli.main import main

if __name__ == "__main__":
    main()
