"""What every prediction is told with."""

NOT_A_DEVICE = "This is research software, not a medical device; it does not replace a radiologist."
PHANTOM = "PHANTOM: this network has seen generated films only; what it says of a real film means nothing"
