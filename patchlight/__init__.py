"""patchlight under one name: ``patchlight.flows``, ``patchlight.tasks``, ``patchlight.storage``.

The folders lie at the top level of the project; here they are linked, and an installed wheel has
them in this package. So no ``tasks.py`` of a user's own is ever taken for ours.
"""
