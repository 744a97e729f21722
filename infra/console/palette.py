"""The colours of pictures: told apart by eyes of every kind (Okabe and Ito, "Color universal design", 2008)."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
