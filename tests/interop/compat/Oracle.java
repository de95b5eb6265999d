import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.SchemaCompatibilityType;

/**
 * Reads "reader TAB writer" lines and writes one verdict a line: compatible, incompatible, ambiguous, invalid-reader, invalid-writer. With
 * --write each line is one schema and the answer is its toString(), or "invalid".
 */
public final class Oracle {
    private static Schema parse(String text) {
        try {
            return new Schema.Parser().parse(text);
        } catch (RuntimeException | StackOverflowError e) {
            return null;
        }
    }

    private static String verdict(String line) {
        int tab = line.indexOf('\t');
        Schema reader = parse(line.substring(0, tab));
        if (reader == null) {
            return "invalid-reader";
        }
        Schema writer = parse(line.substring(tab + 1));
        if (writer == null) {
            return "invalid-writer";
        }
        try {
            boolean ok = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType() == SchemaCompatibilityType.COMPATIBLE;
            return ok ? "compatible" : "incompatible";
        } catch (RuntimeException e) {
            return "ambiguous";
        }
    }

    private static String written(String text) {
        Schema schema = parse(text);
        return schema == null ? "invalid" : schema.toString();
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        boolean write = args.length > 0 && args[0].equals("--write");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(write ? written(line) : verdict(line));
        }
        out.flush();
    }
}
