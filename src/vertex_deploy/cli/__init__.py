"""The command line: one module a command group, no logic of its own.

Modules here parse options, call the library and print. Nothing at module level may import a Google client, torch or
anything else that takes more than a few milliseconds: ``vertex-deploy --help`` answers within 0.3 s (a test holds it).
"""
