#include "base/text.h"
#include "cli/cli.h"

#include <string.h>

/* The scripts know nothing of the verbs: they ask `citadel complete` with the words of the line, as
 * far as the cursor, and show what it answers. So they need no change when verbs come and go. */

/* bash splits words at '=' also: those are joined again, and what is offered for them is given
 * without the part that stands already. */
static const char bash_script[] =
    "# bash completion for citadel; made by: citadel completion bash\n"
    "_citadel()\n"
    "{\n"
    "    local i line word name current=${COMP_WORDS[COMP_CWORD]}\n"
    "    local words=()\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ ($word == = || ${COMP_WORDS[i - 1]} == =) && ${words[-1]-} == --* ]]; then\n"
    "            words[-1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    [[ $current == = ]] && current=\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :file | :dir)\n"
    "            compopt -o filenames\n"
    "            [[ $line == :dir ]] && name=-d || name=-f\n"
    "            while IFS= read -r word; do\n"
    "                COMPREPLY+=(\"$word\")\n"
    "            done < <(compgen $name -- \"$current\")\n"
    "            ;;\n"
    "        *)\n"
    "            word=${line%%$'\\t'*}\n"
    "            [[ ${words[-1]} == --*=* ]] && word=${word#--*=}\n"
    "            COMPREPLY+=(\"$word\")\n"
    "            ;;\n"
    "        esac\n"
    "    done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" complete -- \"${words[@]}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _citadel citadel\n";

static const char zsh_script[] =
    "#compdef citadel\n"
    "# zsh completion for citadel; made by: citadel completion zsh\n"
    "_citadel()\n"
    "{\n"
    "    local line name\n"
    "    local -a offered\n"
    "    for line in \"${(@f)$(${(Q)words[1]} complete -- \"${(@Q)words[2,CURRENT]}\" "
    "2>/dev/null)}\"; do\n"
    "        case $line in\n"
    "        ('') ;;\n"
    "        (:file) compset -P '--*='; _files ;;\n"
    "        (:dir) compset -P '--*='; _files -/ ;;\n"
    "        (*)\n"
    "            name=${line%%$'\\t'*}\n"
    "            offered+=(\"${name//:/\\\\:}:${line#*$'\\t'}\")\n"
    "            ;;\n"
    "        esac\n"
    "    done\n"
    "    (($#offered)) && _describe -V citadel offered\n"
    "}\n"
    "if [[ $funcstack[1] == _citadel ]]; then\n"
    "    _citadel \"$@\"\n"
    "else\n"
    "    compdef _citadel citadel\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion for citadel; made by: citadel completion fish\n"
    "function __citadel_complete\n"
    "    set -l words (commandline -opc) (commandline -ct)\n"
    "    set -l last (string replace -r -- '^--[^=]*=' '' $words[-1])\n"
    "    set -l before (string replace -r -- '=.*' '=' $words[-1])\n"
    "    string match -q -- '--*=*' $words[-1]; or set before ''\n"
    "    for line in ($words[1] complete -- $words[2..] 2>/dev/null)\n"
    "        switch $line\n"
    "            case :file\n"
    "                printf '%s\\n' $before(__fish_complete_path $last)\n"
    "            case :dir\n"
    "                printf '%s\\n' $before(__fish_complete_directories $last '')\n"
    "            case '*'\n"
    "                printf '%s\\n' $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c citadel -f -a '(__citadel_complete)'\n";

const struct verb_help verb_completion_help = {
    .text = "Prints what makes a shell complete verbs, options and their values at the press of "
            "Tab. 'make install' puts it where each shell looks; without that, have the shell "
            "read it at its start, as the examples do.",
    .examples =
        VERB_EXAMPLES({"source <(citadel completion bash)", "in ~/.bashrc"},
                      {"source <(citadel completion zsh)", "in ~/.zshrc, after compinit"},
                      {"citadel completion fish | source", "in ~/.config/fish/config.fish"}),
};

int
verb_completion(struct cli *cli)
{
    static const struct {
        const char *shell, *script;
    } shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    size_t i = 0;
    while (!text_eq(shells[i].shell, cli->args[0]))
        i++;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "shell", shells[i].shell);
        json_str(cli->json, "script", shells[i].script);
        json_close_map(cli->json);
    } else {
        cli_print_bytes(cli, shells[i].script, strlen(shells[i].script));
    }
    return EXIT_CODE_OK;
}
