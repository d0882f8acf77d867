"""Every policy once more in plain Python: dicts and lists, obvious and slow.

`driver.ReferenceCache` is the counterpart of `mltwin.models.caching.driver`; a policy is a class
with the same five parts. Tests step both and compare outcome, victims and residents.
"""
