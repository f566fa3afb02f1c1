"""Makes a small random model with a tokenizer, as a folder of transformers. Prints one line of JSON.

Usage: make_model.py FOLDER KIND

Kinds differ in what exports lose first: `llama` has another BOS in config.json than in its tokenizer and two tokens that end a
text; `mistral` and `qwen2-window` have a sliding window of 48 tokens; `qwen2` normalises (NFC); `qwen2-heads` has heads that do
not fill the width; `qwen3` normalises heads; `sentencepiece` is a Llama whose tokenizer normalises (NFKC) and falls back to
bytes.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM

TEXT = [
    "The old lighthouse keeper climbed the stairs every evening, lit the lamp and wrote the weather into his book.",
    "In 1873 the harbour froze for the first time; no ship came in for eleven weeks.",
    "Once upon a time, in 1984: “Été à Zürich”\n\n\tit cost 12,345.67 – because somebody might.",
]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|begin|>", "<|end|>", "<|turn|>", "<|other|>"]


def byte_level(digits, normalizer, bos):
    """A byte-level tokenizer; its special tokens are the last ids."""
    made = Tokenizer(models.BPE(ignore_merges=digits == "{1,3}"))
    if normalizer:
        made.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(WORDS % digits), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT * 4, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(SPECIAL)
    if bos:
        ids = [("<|begin|>", made.token_to_id("<|begin|>"))]
        made.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=ids)
    return made


def sentencepiece():
    """All cuts of every piece are merges, as of a converted SentencePiece model."""
    base = ["<unk>", "<|begin|>", "<|end|>", "<|turn|>"] + [f"<0x{b:02X}>" for b in range(256)]
    letters = sorted({c for text in TEXT for c in text.replace(" ", "▁")} - {"\n", "\t"})
    pieces = ["th", "he", "the", "▁t", "▁the", "in", "er", "an", "on", "▁l", "▁h", "or", "am", "ed", "▁a", "st", "fi", "ne"]
    vocab = {token: i for i, token in enumerate(base + letters + pieces)}
    known = set(letters + pieces)
    merges = [
        (piece[:at], piece[at:])
        for piece in pieces
        for at in range(1, len(piece))
        if piece[:at] in known and piece[at:] in known
    ]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    made.normalizer = normalizers.Sequence(steps)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<unk>", "<|begin|>", "<|end|>", "<|turn|>"])
    made.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 1)])
    return made


def main(folder, kind):
    torch.manual_seed(0)
    if kind == "sentencepiece":
        tokenizer = sentencepiece()
    else:
        qwen = kind.startswith("qwen")
        tokenizer = byte_level("" if qwen else "{1,3}", normalizers.NFC() if qwen else None, not qwen)
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    common = dict(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=ids["<|begin|>"],
        eos_token_id=ids["<|end|>"],
    )
    if kind in ("llama", "sentencepiece"):
        other = {"bos_token_id": ids["<|other|>"]} if kind == "llama" else {}
        model = LlamaForCausalLM(LlamaConfig(**{**common, **other}))
    elif kind == "mistral":
        model = MistralForCausalLM(MistralConfig(**common, sliding_window=48))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**common))
    else:
        window = dict(use_sliding_window=True, sliding_window=48, max_window_layers=0) if kind == "qwen2-window" else {}
        heads = dict(num_attention_heads=2, num_key_value_heads=1) if kind == "qwen2-heads" else {}
        model = Qwen2ForCausalLM(Qwen2Config(**{**common, **heads}, **window))
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(value, std=0.15)
    model.generation_config.eos_token_id = [ids["<|end|>"], ids["<|turn|>"]]
    model.generation_config.bos_token_id = ids["<|begin|>"]
    model.float().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    template = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}<|turn|>{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    print(json.dumps({"kind": kind, "vocabulary": common["vocab_size"]}))
    return 0


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
