"""The attentive graph neural network: a video's frames as nodes that pass messages (AGNN, ICCV 2019)."""
