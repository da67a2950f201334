# SPDX-License-Identifier: MPL-2.0
"""The generator's parts: model reads and checks the schemas, the others write one kind of output each."""
