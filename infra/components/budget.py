"""A budget that tells people when the project spends more than was meant.

Deliberately not created: anything that stops spending (a budget never does); the channels that are told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pulumi_gcp import billing

from infra.components.base import Component, asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pulumi

    from vertex_deploy.spec import Spec

MAX_CHANNELS = 5
"""Notification channels that a budget takes (AllUpdatesRule)."""


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    """Arguments of ``Budget``.

    Args:
        project: project whose spending counts.
        display_name: what the console calls it.
        billing_account: XXXXXX-XXXXXX-XXXXXX.
        amount: whole units of currency a month.
        currency: three letters.
        at: shares of the amount, 0.5 for half.
        channels: notification channels; the first five are told.
    """

    project: str
    display_name: str
    billing_account: str
    amount: int
    currency: str = "USD"
    at: tuple[float, ...] = (0.5, 0.9, 1.0)
    channels: Sequence[pulumi.Input[str]] = ()

    @classmethod
    def of(cls, spec: Spec, *, channels: Sequence[pulumi.Input[str]] = ()) -> Self:
        """From ``infra.budget``.

        Raises:
            ValueError: the spec has no ``infra.budget``.
        """
        wanted = asked(spec.infra.budget, "budget")
        return cls(
            project=spec.gcp.project,
            display_name=spec.name,
            billing_account=wanted.billing_account,
            amount=wanted.amount,
            currency=wanted.currency,
            at=wanted.at,
            channels=channels,
        )


class Budget(Component):
    """A monthly budget of one project. No outputs: nothing depends on it."""

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        shares = sorted(args.at)
        rules = [billing.BudgetThresholdRuleArgs(threshold_percent=share) for share in shares]
        if shares:
            rules.append(billing.BudgetThresholdRuleArgs(threshold_percent=shares[-1], spend_basis="FORECASTED_SPEND"))
        billing.Budget(
            name,
            billing_account=args.billing_account,
            display_name=args.display_name,
            amount=billing.BudgetAmountArgs(
                specified_amount=billing.BudgetAmountSpecifiedAmountArgs(
                    currency_code=args.currency, units=str(args.amount)
                )
            ),
            budget_filter=billing.BudgetBudgetFilterArgs(
                projects=[f"projects/{args.project}"], calendar_period="MONTH"
            ),
            threshold_rules=rules,
            all_updates_rule=billing.BudgetAllUpdatesRuleArgs(
                monitoring_notification_channels=list(args.channels)[:MAX_CHANNELS]
            )
            if args.channels
            else None,
            # The API tells the project by its number: a refresh would make a difference of it for ever.
            opts=self.child(ignore=("budgetFilter.projects",)),
        )
        self.register_outputs({})
