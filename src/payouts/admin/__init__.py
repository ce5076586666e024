"""The back office's window on payouts, one file a page. What it can change, it changes by the verbs of the queryset."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from payouts.admin.dialogs import Dialogs
from payouts.admin.export import Export
from payouts.admin.payout_list import PayoutList
from payouts.admin.payout_page import PayoutPage
from payouts.models import Payout
from runtime.admin import never


@admin.register(Payout)
class PayoutAdmin(Dialogs, Export, PayoutPage, PayoutList, ModelAdmin):
    has_add_permission = has_delete_permission = never
