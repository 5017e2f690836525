"""Next-basket methods on the Ta-Feng data, under the protocol of the Next Basket Recommendation Reality Check.

Here belong the data's loader, the protocol's metrics, the methods and the program that compares them. The product's own
decision, which is judged by a global cutoff in time, does not: nothing in the product imports this package.
"""
