"""Where events are made durable, deduplicated and correlated before anyone is told of them."""
