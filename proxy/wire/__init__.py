"""Rules about bytes: headers, where the model sits in a body, what an event stream says. Pure."""
