"""What the components cost: 100 endpoints by the program, and by a bare pulumi-gcp program, under Pulumi's mocks."""
