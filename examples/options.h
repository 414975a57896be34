// Options: the command line of an example.
#pragma once

#include <warren/tls.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

// Each question takes its answer off the line, and `finish` refuses what is left. Wrong usage is
// told in one line on stderr and ends the program with 2.
class Options {
 public:
  // `usage` begins with the program's name.
  Options(int argc, char** argv, std::string usage)
      : usage_(std::move(usage)), words_(argv + (argc > 0), argv + argc) {}

  // --name
  bool flag(const std::string& name) { return std::erase(words_, name) > 0; }

  // --name VALUE
  std::string text(const std::string& name, std::string fallback) {
    const auto found = std::find(words_.begin(), words_.end(), name);
    if (found == words_.end()) return fallback;
    if (found + 1 == words_.end() || found[1].empty()) wrong(name + " needs a value");
    std::string value = std::move(found[1]);
    words_.erase(found, found + 2);
    return value;
  }
  int number(const std::string& name, int fallback, int low, int high = INT_MAX) {
    return toNumber(name, text(name, std::to_string(fallback)), low, high);
  }

  // The next word, whatever it is.
  std::string word(const std::string& name) {
    if (words_.empty()) wrong(name + " is missing");
    std::string value = std::move(words_.front());
    words_.erase(words_.begin());
    return value;
  }
  int numberWord(const std::string& name, int low, int high = INT_MAX) {
    return toNumber(name, word(name), low, high);
  }
  bool empty() const { return words_.empty(); }

  // --cert FILE --key FILE [--ca FILE --request-cert]; nothing of it: plain.
  warren::TlsSetting serverTls() {
    const std::string cert = text("--cert", "");
    const std::string key = text("--key", "");
    const std::string ca = text("--ca", "");
    const bool ask = flag("--request-cert");
    if (cert.empty() && key.empty() && ca.empty() && !ask) return false;
    if (cert.empty() || key.empty()) wrong("--cert and --key belong together");
    warren::TlsOptions tls{.key = warren::file(key), .cert = warren::file(cert)};
    if (!ca.empty()) tls.ca = warren::file(ca);
    tls.requestCert = ask;
    return tls;
  }

  // [--ca FILE] [--server-name NAME]
  warren::TlsOptions whomToTrust() {
    warren::TlsOptions tls{.serverName = text("--server-name", "")};
    if (const std::string ca = text("--ca", ""); !ca.empty()) tls.ca = warren::file(ca);
    return tls;
  }

  // --tls [--ca FILE --server-name NAME]
  warren::TlsSetting clientTls() {
    const bool on = flag("--tls");
    const warren::TlsOptions tls = whomToTrust();
    if (on) return tls;
    if (tls.ca.given() || !tls.serverName.empty()) wrong("--ca and --server-name need --tls");
    return false;
  }

  void finish() const {
    if (!empty()) wrong("unexpected " + words_.front());
  }

  // Tells what else went wrong, and gives the program's exit code.
  int failed(const std::string& why) const {
    std::fprintf(stderr, "%s: %s\n", usage_.substr(0, usage_.find(' ')).c_str(), why.c_str());
    return 1;
  }

 private:
  int toNumber(const std::string& name, const std::string& text, int low, int high) const {
    int number = 0;
    const char* const end = text.data() + text.size();
    const std::from_chars_result read = std::from_chars(text.data(), end, number);
    if (read.ec != std::errc() || read.ptr != end) wrong(name + " " + text + " is not a number");
    if (number < low || number > high) {
      wrong(name + " " + text + " is outside " + std::to_string(low) + ".." + std::to_string(high));
    }
    return number;
  }

  [[noreturn]] void wrong(const std::string& why) const {
    failed(why + " (usage: " + usage_ + ")");
    std::exit(2);
  }

  std::string usage_;
  std::vector<std::string> words_;
};
