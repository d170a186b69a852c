"""SoftAdapt in training frameworks: `lightning` and `transformers`. Nothing is imported before a user imports one of them."""
