/* The entry point and nothing else, so that tests can link the verbs without it. */
#include "cmd/cmd.h"

int main(int argc, char **argv)
{
    return cmd_main(argc, argv);
}
