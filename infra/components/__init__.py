"""The components of the program: one file each, made from the spec, nothing said twice.

Every component takes a name and frozen, keyword-only arguments; ``ARGS.of(spec)`` reads them from a spec. Children have
the component as parent and nothing else in their options, unless a named function says what and why. Left out: enabling
APIs, and grants of Google's own service agents on a customer-managed key, which whoever owns project and key makes
(docs/infra/operations.md has the commands).
"""
