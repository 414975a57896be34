// ArrayBufferSink.
#include <cstdio>

#include "conformance/stage.h"

namespace warren::conformance {
namespace {

std::string hex(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

// Plays the steps on a sink. How a flushed value is shown is the scenario's.
struct Play {
  enum class Show { text, hex, onlyHex, size };

  explicit Play(const char* scenario, Show how = Show::text) : stage(scenario), show(how) {}

  void start(const std::string& what, SinkOptions options = {}) {
    static_cast<void>(
        stage.does("sink", "start(" + what + ")", [&] { return sink.start(options); }));
    kind = options.asUint8Array ? "Uint8Array" : "ArrayBuffer";
    stream = options.stream;
  }
  void write(std::string_view text) { write("\"" + std::string(text) + "\"", asBytes(text)); }
  void write(const std::string& what, Bytes bytes) {
    static_cast<void>(stage.does("sink", "write(" + what + ")", [&] { return sink.write(bytes); }));
  }
  // Without `stream` a flush gives a number.
  void flush(const std::string& what = "flush()") {
    stage.does("sink", what, [&] {
      const Flushed flushed = sink.flush();
      return stream ? shown(flushed) : Json{{"number", flushed.count()}};
    });
  }
  void end() {
    stage.does("sink", "end()", [&] { return shown(sink.end()); });
  }
  Json shown(const Flushed& flushed) const {
    Json value{{"bytes", flushed.size()}};
    if (show != Show::onlyHex) value["kind"] = kind;
    if (show == Show::text || (show == Show::size && flushed.size() == 0))
      value["text"] = asText(flushed);
    if (show == Show::hex || show == Show::onlyHex) value["hex"] = hex(flushed);
    return value;
  }

  Stage stage;
  ArrayBufferSink sink;
  Show show;
  const char* kind = "ArrayBuffer";
  bool stream = false;
};

SCENARIO_TEST("sink-default", "start() without options: flush keeps the bytes, end gives them") {
  Play play("sink-default");
  play.start("");
  play.write("abc");
  play.write("de");
  play.flush();
  play.write("f");
  play.flush();
  play.flush();
  play.end();
  play.stage.conforms();
}

SCENARIO_TEST("sink-stream", "start({stream: true}): flush gives the bytes and starts over") {
  Play play("sink-stream");
  play.start(R"({"stream":true})", {.stream = true});
  play.write("abc");
  play.flush();
  play.write("de");
  play.write("f");
  play.flush();
  play.flush();
  play.write("g");
  play.end();
  play.stage.conforms();
}

SCENARIO_TEST("sink-uint8array", "asUint8Array without stream") {
  Play play("sink-uint8array");
  play.start(R"({"asUint8Array":true})", {.asUint8Array = true});
  play.write("abc");
  play.flush();
  play.write("d");
  play.end();
  play.stage.conforms();
}

SCENARIO_TEST("sink-write-returns", "Return values of write for each kind of input") {
  Play play("sink-write-returns", Play::Show::hex);
  const std::byte zeros[8] = {};
  const Bytes buffer(zeros);
  play.start(R"({"stream":true})", {.stream = true});
  play.write("hello");
  play.write("");
  play.write(R"("h\u00e9llo")", asBytes("h\u00e9llo"));
  play.write(R"("\u20ac")", asBytes("\u20ac"));
  play.write(R"("\u{1F600}")", asBytes("\U0001F600"));
  play.write("Uint8Array(3)", buffer.first(3));
  play.write("Uint8Array(0)", buffer.first(0));
  play.write("ArrayBuffer(4)", buffer.first(4));
  play.write("DataView(buffer 8, 3, 2)", buffer.subspan(3, 2));
  play.write("Uint16Array(2)", buffer.first(4));
  play.write("SharedArrayBuffer(2)", buffer.first(2));
  play.flush();
  play.stage.conforms();
}

SCENARIO_TEST("sink-unicode",
              "Text is stored as UTF-8, also across writes and for lone surrogates") {
  Play play("sink-unicode", Play::Show::onlyHex);
  play.start(R"({"stream":true,"asUint8Array":true})", {.asUint8Array = true, .stream = true});
  play.write(R"("\u00e9")", asBytes("\u00e9"));
  play.flush();
  play.write(R"("\u65e5\u672c")", asBytes("\u65e5\u672c"));
  play.flush();
  play.write(R"("\u0000")", asBytes(std::string_view("\0", 1)));
  play.flush();
  play.stage.conforms();
}

SCENARIO_TEST("sink-high-water-mark", "highWaterMark is a preallocation, not a limit") {
  Play play("sink-high-water-mark", Play::Show::size);
  for (const size_t mark : {size_t{1}, size_t{16}, size_t{1024}, size_t{0}}) {
    play.start("{stream: true, highWaterMark: " + std::to_string(mark) + "}",
               {.stream = true, .highWaterMark = mark});
    play.write("100 bytes", Bytes(bytes(100)));
    play.write("5000 bytes", Bytes(bytes(5000)));
    play.flush();
  }
  play.start(R"({"stream":true,"asUint8Array":true,"highWaterMark":1024})",
             {.asUint8Array = true, .stream = true, .highWaterMark = 1024});
  play.write("10 bytes", Bytes(bytes(10)));
  play.stage.conforms();
}

SCENARIO_TEST("sink-flush-independent", "Flushed bytes stay intact when the sink goes on") {
  Play play("sink-flush-independent");
  Stage& stage = play.stage;
  ArrayBufferSink& sink = play.sink;
  play.start(R"({"stream":true,"asUint8Array":true,"highWaterMark":64})",
             {.asUint8Array = true, .stream = true, .highWaterMark = 64});
  REQUIRE(sink.write("AAAA"));
  const Flushed a = sink.flush();
  REQUIRE(sink.write("BBBB"));
  const Flushed b = sink.flush();
  stage.note("sink", "a", asText(a));
  stage.note("sink", "b", asText(b));
  const bool apart = a.bytes().data() + a.size() <= b.bytes().data() ||
                     b.bytes().data() + b.size() <= a.bytes().data();
  stage.note("sink", "a and b share one buffer", !apart);
  // What a flush gave is the user's to change.
  const_cast<std::byte&>(a.bytes()[0]) = std::byte{'Z'};
  REQUIRE(sink.write("DDDD"));
  stage.note("sink", "next flush", asText(sink.flush()));
  REQUIRE(sink.write("CCCC"));
  play.end();
  stage.note("sink", "a", asText(a));
  stage.note("sink", "b", asText(b));
  stage.conforms();
}

SCENARIO_TEST("sink-after-end", "Calls after end()") {
  Play play("sink-after-end");
  play.start(R"({"stream":true})", {.stream = true});
  play.write("abc");
  play.end();
  play.write("d");
  play.flush();
  play.end();
  play.end();
  play.start("{stream: true}", {.stream = true});
  play.write("e");
  play.flush();
  play.stage.conforms();
}

SCENARIO_TEST("sink-after-end-default", "Calls after end(), non-stream mode") {
  Play play("sink-after-end-default");
  play.start("");
  play.write("abc");
  play.end();
  play.end();
  play.write("d");
  play.flush();
  play.end();
  play.stage.conforms();
}

SCENARIO_TEST("sink-large", "Large writes") {
  Play play("sink-large", Play::Show::size);
  play.start(R"({"stream":true,"highWaterMark":1024})", {.stream = true, .highWaterMark = 1024});
  play.write("8 MiB", Bytes(bytes(8 * kMiB)));
  play.write("1 byte", Bytes(bytes(1)));
  play.flush();
  std::string text;
  for (size_t i = 0; i < kMiB; ++i) text += "\u00e9";
  play.write(R"("\u00e9" x 1 Mi)", asBytes(text));
  play.flush();
  bool taken = true;
  for (int i = 0; i < 100000; ++i) taken = taken && play.sink.write("x");
  REQUIRE(taken);
  play.flush("flush() after 100000 writes");
  play.end();
  play.stage.conforms();
}

SCENARIO_TEST("sink-with-socket",
              "The documented way of buffering: several writes, one socket write") {
  Play play("sink-with-socket");
  Stage& stage = play.stage;
  ArrayBufferSink& sink = play.sink;
  Table server = stage.complete("server");
  server.drain = {};
  Table client = stage.complete("client");
  client.drain = {};
  stage.pair(server, client);
  play.start(R"({"stream":true,"highWaterMark":1024})", {.stream = true, .highWaterMark = 1024});
  for (const char* const letter : {"h", "e", "l", "l", "o"}) REQUIRE(sink.write(letter));
  const Flushed hello = sink.flush();
  stage.note("sink", "the flushed value has a subarray method", hello.subspan(1).size() == 4);
  stage.does("client", "write(flush())", [&] { return stage["client"].write(hello); });
  stage.quiet();

  stage["server"].pause();
  const Bytes given = bytes(16 * kMiB);
  static_cast<void>(stage.does("sink", "write(16 MiB)", [&] { return sink.write(given); }));
  const Flushed large = sink.flush();
  std::ptrdiff_t taken = 0;
  stage.does("client", "write(flush())", [&] {
    taken = stage["client"].write(large);
    return amount(taken, large.size());
  });
  REQUIRE(taken > 0);
  const Bytes rest = large.subspan(static_cast<size_t>(taken));
  const Result<size_t> back = sink.write(rest);
  stage.note("sink", "written back", back && *back == rest.size());
  const Flushed next = sink.flush();
  stage.note("sink", "next flush is exactly the rest",
             asText(next) == asText(given.subspan(static_cast<size_t>(taken))));
  stage["client"].terminate();
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
