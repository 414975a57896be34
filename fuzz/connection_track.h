// One connection of fuzz/connection_fuzz.cc: what its peer and its user have put in, and what came out
// at the other end. Every function that is told something checks that it may be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "fuzz.h"
#include "sim/kernel.h"
#include "warren/warren.h"

namespace warren::fuzz {

// Byte `position` of the stream of one end of one socket.
inline char byteAt(size_t stream, uint64_t position) {
  return static_cast<char>(stream * 57 + position * 31 + (position >> 8) * 17);
}

struct Track;

// The Data of a socket: whose it is.
struct Mark {
  Track* track = nullptr;
};

struct Track {
  size_t number = 0;
  Socket<Mark> socket{};
  sim::Peer peer{};
  std::optional<sim::Server> server{};  // of a dialed socket
  uint16_t port = 0;                    // of a peer that connects, or what its header says
  bool local = false;                   // a unix socket, which has no reset
  bool greetingFalse = false;           // its header is none
  bool peerThere = false;
  bool peerFin = false;
  bool opened = false;
  bool refused = false;  // connectError
  bool ended = false;
  bool closed = false;
  bool drainOwed = false;
  bool muted = false;   // `data` may leave something out
  bool paused = false;  // as far as its user knows
  uint64_t peerSent = 0;
  uint64_t heard = 0;
  uint64_t accepted = 0;
  uint64_t peerRead = 0;

  size_t inward() const { return 2 * number; }
  size_t outward() const { return 2 * number + 1; }
  bool over() const { return closed || refused; }
  bool live() const { return opened && !over(); }

  // --- handlers --------------------------------------------------------------------------------

  Track& onOpen() {
    require(!opened && !over() && !greetingFalse);
    opened = true;
    return *this;
  }

  // A failed write lifts a pause; `troubled` says there may have been one.
  Track& onData(Bytes bytes, bool troubled) {
    require(live() && !bytes.empty() && !ended && !muted && (!paused || troubled));
    for (const char each : asText(bytes)) require(each == byteAt(inward(), heard++));
    require(heard <= peerSent);
    return *this;
  }

  Track& onDrain() {
    require(live() && std::exchange(drainOwed, false));
    return *this;
  }

  Track& onEnd() {
    require(live() && !ended && !muted && heard == peerSent);
    ended = true;
    return *this;
  }

  Track& onClose() {
    require(live());
    closed = true;
    return *this;
  }

  // `timeout` is for open sockets.
  Track& onTimeout() {
    require(live());
    return *this;
  }

  Track& onRefused() {
    require(!opened && !over());
    refused = true;
    return *this;
  }

  // --- the user --------------------------------------------------------------------------------

  // Gives `verb` the next bytes and counts what the socket has accepted of them.
  template <class Verb>
  std::ptrdiff_t counted(size_t size, Verb verb) {
    std::string text(size, '\0');
    for (size_t at = 0; at < size; ++at) text[at] = byteAt(outward(), accepted + at);
    const uint64_t before = socket.bytesWritten();
    const bool gone = over();
    const std::ptrdiff_t answer = verb(text);
    const uint64_t took = socket.bytesWritten() - before;
    require(took <= size && (!gone || took == 0));
    accepted += took;
    return answer;
  }

  void refuse() {
    const ReadyState state = socket.readyState();
    if (state != ReadyState::ended && state != ReadyState::closed) drainOwed = true;
  }

  void write(size_t size) {
    const uint64_t before = accepted;
    const std::ptrdiff_t answer =
        counted(size, [&](const std::string& text) { return socket.write(text); });
    if (answer < 0) return;
    require(!over() && accepted == before + static_cast<uint64_t>(answer));
    if (accepted < before + size) refuse();
  }

  void writeSink(size_t size) {
    ArrayBufferSink sink;
    const std::ptrdiff_t answer = counted(size, [&](const std::string& text) {
      require(sink.write(asBytes(text)).value() == size);
      return socket.write(sink);
    });
    if (answer >= 0 && static_cast<size_t>(answer) < size) refuse();
  }

  void send(size_t size) {
    const uint64_t before = accepted;
    const std::ptrdiff_t fine =
        counted(size, [&](const std::string& text) { return std::ptrdiff_t{socket.send(text)}; });
    require(fine == 0 || accepted == before + size);
    if (fine == 0) refuse();
  }

  void end(size_t size) {
    const uint64_t before = accepted;
    const std::ptrdiff_t answer =
        counted(size, [&](const std::string& text) { return socket.end(text); });
    require(answer < 0 || accepted == before + size);
  }

  // --- the peer --------------------------------------------------------------------------------

  void peerSends(size_t size) {
    if (peerFin || greetingFalse) return;
    std::string text(size, '\0');
    for (size_t at = 0; at < size; ++at) text[at] = byteAt(inward(), peerSent + at);
    peerSent += peer.send(text);
  }

  // Whoever reads a FIN has read everything before it. A socket that was closed before it was open
  // has told its user so.
  void peerReads(size_t most) {
    for (const char each : peer.read(most)) require(each == byteAt(outward(), peerRead++));
    require(peerRead <= accepted);
    const bool whole = opened && peer.ended() && !peer.wasReset() && !local;
    require(!whole || peerRead == accepted);
  }

  // Nothing fails, everybody reads, and nothing is pending: so nothing is under way.
  void requireQuiet() const {
    if (!live() || !peerThere) return;
    require(muted || (heard == peerSent && ended == peerFin));
    const ReadyState state = socket.readyState();
    require(state == ReadyState::closed || socket.unsentBytes() == 0);
    require(state != ReadyState::open || !drainOwed);
  }
};

}  // namespace warren::fuzz
