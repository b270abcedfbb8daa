"""`lorax-batch doctor`: looks at all that a service needs, and says what to do where something is wrong."""
