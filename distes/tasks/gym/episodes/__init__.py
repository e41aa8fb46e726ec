"""What both ways of running episodes share: rewards, normalisation, behaviour, numbers of infos."""
