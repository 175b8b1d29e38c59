"""A unified messaging normalizer and event bus for WhatsApp, RCS and INCS callbacks."""
